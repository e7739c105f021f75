"""Networks that are made of operators, one family a file; a new file here is found by itself."""
