"""Measurements and checks, each a script; a package, so that no other package of that name comes before it."""
