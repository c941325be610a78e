"""The tuner: decides how many tokens each block should remove, from measured times and measured sensitivity."""
