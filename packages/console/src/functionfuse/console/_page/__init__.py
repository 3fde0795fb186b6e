"""The local page: the runs of a store in a browser on this machine, live."""
