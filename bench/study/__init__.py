"""Studies: trainings under several seeds, what they give, and how sure that is."""
