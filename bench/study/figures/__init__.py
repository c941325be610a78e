"""Figures of a study, each in a file of its own with the numbers that only it shows."""
