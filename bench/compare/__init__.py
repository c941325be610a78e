"""Two revisions or two results folders against each other."""
