"""Data sets as others lay them out on disk, one file each, and telling which of them a folder is."""
