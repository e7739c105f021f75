"""Speed, measured side by side: the contestants are processes of their own that take turns within one run."""
