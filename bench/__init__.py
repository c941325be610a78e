"""The measurement harness of FastAST: sweeps, records and what is drawn from them.

Run from the repository: `python -m bench run bench/sweeps/default.toml`.
"""
