"""The controller of a cluster: one actor that runs all workflows."""
