"""What others published: scores on the data sets of the paper, and models that a merged AST has to compete with."""
