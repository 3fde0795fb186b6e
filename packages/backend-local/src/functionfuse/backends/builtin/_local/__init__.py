"""The parts of `LocalWorkflow` and `GraphWorkflow`."""
