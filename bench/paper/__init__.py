"""The paper's experiment on your own data sets and checkpoints: find them, match them, measure and report."""
