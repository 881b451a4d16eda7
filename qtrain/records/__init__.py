"""Files on disk: each format once, written whole or not at all."""
