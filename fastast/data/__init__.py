"""Sound: reading files, and the data sets that models are trained and measured with."""
