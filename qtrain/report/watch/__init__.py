"""Runs on a live page: a server of this machine alone, which reads records and writes nothing."""
