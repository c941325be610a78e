"""A copy of a data set that is read fast: made once, checked, and resumed where it was cut off."""
