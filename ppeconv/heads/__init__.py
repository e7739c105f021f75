"""What stands in place of the global pooling before a classifier, one a file; a new file here is found by itself."""
