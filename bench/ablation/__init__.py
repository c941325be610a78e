"""Evaluate a sweep of alternatives: options on one axis with the default marked, or fronts at equal speed."""
