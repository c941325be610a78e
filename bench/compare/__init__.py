"""Compare two revisions, or two folders of results."""
