"""Train models by recipes: the loop, its parts, evaluation, and recording of a teacher's answers."""
