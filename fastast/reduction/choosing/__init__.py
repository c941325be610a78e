"""What methods choose with: comparing tokens, parting them into sets, matching, dropping, and thresholds."""
