"""A training step as one captured CUDA graph, and what it may read."""
