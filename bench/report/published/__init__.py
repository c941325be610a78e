"""What others published: figures for the data sets of the paper, and models that a merged AST is held against."""
