"""Observe what methods merge: along which axis, how similar tokens were, and whether anything sounded there."""
