"""Sound: reading files, data sets to train and measure with, batches of them, and their augmentation."""
