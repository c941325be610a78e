"""A cell in its own process: its model, arms and inputs, and the answer that it sends back."""
