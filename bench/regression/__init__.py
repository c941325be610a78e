"""The regression gate: deterministic proxies, ratios measured in the same run, and a machine's own baseline.

Run it with `python -m pytest bench/regression`; docs/regression.md says what it gates and how.
"""
