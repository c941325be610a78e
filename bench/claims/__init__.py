"""Sentences of the documents, and the queries over records that their numbers come from."""
