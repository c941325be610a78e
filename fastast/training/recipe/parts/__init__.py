"""The parts of a recipe, each a table of its file."""
