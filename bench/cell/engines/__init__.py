"""The engines of cells, one a file: `plain` PyTorch, FastAST's own kernels (`triton`), and other runtimes."""
