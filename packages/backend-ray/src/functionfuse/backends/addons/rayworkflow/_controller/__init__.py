"""The controller of a cluster: one actor that runs all workflows.

It imports all other rooms; only the public modules import it.
"""
