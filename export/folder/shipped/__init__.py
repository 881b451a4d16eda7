"""What is copied into every FINN folder; these files import nothing of qtrain."""
