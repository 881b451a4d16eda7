"""Schedulers against each other, over seeds, networks and bit widths."""
