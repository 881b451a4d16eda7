"""The FINN folder: what is written into it, checked, signed and changed."""
