"""The tuner: how many tokens each block should remove, from measured times and measured sensitivity."""
