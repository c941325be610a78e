"""Readers of data sets in the layouts that others publish, one per file, and recognition of a folder's layout."""
