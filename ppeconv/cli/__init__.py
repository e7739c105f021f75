"""The command line: `ppeconv train -c ...`, and the scripts in tools/ that are the same."""
