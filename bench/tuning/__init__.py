"""Published answers of `fastast tune`: `results/tuning/<name>.toml`."""
