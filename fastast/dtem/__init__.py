"""Learning a merge embedding (DTEM): soft groups while training, the model's own weights frozen."""
