"""The view of Function Fuse: a command line, live progress, reports of runs, and a local page."""
