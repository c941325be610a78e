"""What methods merge: along which axis, how alike it was, and whether anything sounded there."""
