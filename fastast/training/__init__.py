"""Training by recipe: the loop, its parts, evaluation, and recording of what a teacher answers."""
