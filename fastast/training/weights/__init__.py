"""Weights: those that a training starts from, which of them are trained, their averages, and the file at the end."""
