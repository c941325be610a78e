"""Building blocks of methods: comparing tokens, splitting them into sets, matching, dropping, and thresholds."""
