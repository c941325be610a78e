"""Running a sweep: processes, launchers, progress, and one record per cell."""
