"""What a data set holds before anything is trained on it: faults, statistics, and how fast it is read."""
