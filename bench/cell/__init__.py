"""One cell in a process of its own: model, arms, inputs, and the answer that goes back."""
