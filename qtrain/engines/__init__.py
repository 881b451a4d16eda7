"""Where tasks run: one after the other here, side by side in processes, or on a Ray cluster."""
