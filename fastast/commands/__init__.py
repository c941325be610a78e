"""The commands of `fastast`. Each imports its dependencies only when it is called, so that `--help` is fast."""
