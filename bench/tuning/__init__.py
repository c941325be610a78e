"""Answers of `fastast tune` that are published: `results/tuning/<name>.toml`."""
