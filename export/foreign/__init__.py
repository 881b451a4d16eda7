"""Graphs and files that others wrote: looked at before a library works on them, refused in one line."""
