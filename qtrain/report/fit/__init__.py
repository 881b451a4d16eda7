"""What a fit found, as a page and on the console."""
