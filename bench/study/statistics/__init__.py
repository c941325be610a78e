"""How certain the results of a study are: bootstrap replicates of its scores, and intervals of differences."""
