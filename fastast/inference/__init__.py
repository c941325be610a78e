"""Sound of any length -> labels, events and vectors: files, pipes and microphones, by one model or one engine."""
