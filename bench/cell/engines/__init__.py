"""The engines of cells, one per file: `plain` PyTorch, FastAST's own kernels (`triton`), and other runtimes."""
