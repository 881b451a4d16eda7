"""Errors of the exporter that are not the user's mistake."""


class ProofError(RuntimeError):
    """The exported graph does not compute what the trained network computes; exit status 3 on the command line."""
