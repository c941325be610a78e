"""The folder of a run: its recipe, its state, its best weights and its log."""
