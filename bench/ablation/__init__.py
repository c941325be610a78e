"""What a sweep of alternatives says: one axis with the chosen option marked, or fronts at equal speed."""
