"""A Function Fuse graph as one durable task."""
