"""The parts of `PrefectWorkflow`."""
