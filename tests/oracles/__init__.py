"""Slow, obvious re-implementations that FastAST is compared with; none of them imports `fastast` or torch."""
