"""The regression gate: deterministic proxies, ratios within one run, and times against a machine's own baseline.

Run it with `python -m pytest bench/regression`; docs/regression.md explains what it judges and how.
"""
