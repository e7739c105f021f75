"""What may become of the residual branches of a network: they are made narrower, or left out.

One change a file; a new file here is found by itself.
"""
