"""From a plan to a pipeline: pods, code, options and limits."""
