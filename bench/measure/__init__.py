"""What is measured and how: time, memory, energy, the machine and its state, and the gates that numbers must pass."""
