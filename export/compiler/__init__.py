"""The FINN compiler in a process of its own: estimate-only builds, and what they say of a network."""
