"""Trained results: which networks are trained how (`rows.yaml`), and what came out of it (a record for each run)."""
