"""Share one machine's records: pack them without a trace of who measured them, and check them when they arrive."""
