"""One machine's records for everybody: packed without a word on who measured them, and checked when they arrive."""
