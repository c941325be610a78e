"""The device code of the kernels, in Triton. Nothing imports it, or Triton, before the first launch."""
