"""The trained weights that come with ppeconv: what is known of them, and which fit a network."""
