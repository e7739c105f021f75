"""Images and labels: data sets, transforms, batches."""
