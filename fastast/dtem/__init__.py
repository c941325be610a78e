"""Learn a merge embedding (DTEM), with soft groups in training and the model's own weights frozen."""
