"""How good trained models are: scores under several schedules, how fast they came, and summaries over runs."""
