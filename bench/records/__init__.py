"""Records: their schema, the store that keeps them, and the tables that they are exported to."""
