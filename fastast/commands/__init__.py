"""The commands of `fastast`. Each imports what it works with when it is called, so that `--help` is quick."""
