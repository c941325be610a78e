"""Checks of a data set before anything is trained on it: its faults, its statistics, and how fast it is read."""
