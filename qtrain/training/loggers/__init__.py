"""Loggers: who gets a copy of a run's records, each in a file of its own."""
