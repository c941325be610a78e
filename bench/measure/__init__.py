"""Measurements: time, memory, energy, the machine and its state, and the gates that every number must pass."""
