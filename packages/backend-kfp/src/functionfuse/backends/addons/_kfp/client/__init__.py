"""Running a pipeline: on a host, or on this machine."""
