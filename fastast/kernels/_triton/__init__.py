"""The kernels' device code, in Triton. Neither it nor Triton is imported before the first launch."""
