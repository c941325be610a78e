"""The kernels' rooflines, and measurements on a GPU that is available for minutes: steps, most telling first, into one
archive."""
