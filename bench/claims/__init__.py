"""Claims in documents, and the queries over records that give their numbers."""
