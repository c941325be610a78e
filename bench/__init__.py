"""FastAST's measurement harness: sweeps, their records, and the figures and tables drawn from them.

Run from the repository: `python -m bench run bench/sweeps/default.toml`.
"""
