"""Weights: those that a training begins with, what of them learns, their averages, and the file in the end."""
