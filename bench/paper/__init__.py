"""The paper's experiment on data sets and checkpoints that a person has: found, matched, measured, reported."""
