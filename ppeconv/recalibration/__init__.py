"""Blocks that weigh the channels or pixels of a feature map, one a file; a new file here is found by itself."""
