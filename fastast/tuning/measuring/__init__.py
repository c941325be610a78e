"""What is measured of a model to tune its schedule, each measurement once."""
