"""Read audio files and data sets, and make and augment batches for training and measuring."""
