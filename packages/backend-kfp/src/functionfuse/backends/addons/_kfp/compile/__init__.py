"""From a plan to a pipeline: pods, code, settings and limits. It imports `pod`, and is imported by `client`."""
