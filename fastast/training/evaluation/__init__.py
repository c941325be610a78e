"""Evaluate trained models: scores under several schedules, clips per second, and summaries over runs."""
