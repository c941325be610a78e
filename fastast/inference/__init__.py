"""Turn sound of any length, from files, pipes and microphones, into labels, events and vectors."""
