"""Blocks that weigh the channels or pixels of a feature map, and heads that take the place of the global pooling.

One a file; a new file here is found by itself.
"""
