"""Training: the loop, augmentation and recipes."""
