"""Caches: copies of data sets that are fast to read, made once, checksummed, and resumed after an interruption."""
