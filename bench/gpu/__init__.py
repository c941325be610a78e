"""What is measured on a GPU that is there for minutes: steps in the order of what they tell, and one archive."""
