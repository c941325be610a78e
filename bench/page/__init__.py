"""One HTML file to explore records in: choose and compare configurations, look at a record, hear a sound and see its
tokens merge."""
