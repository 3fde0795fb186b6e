"""A graph of Function Fuse as one durable task.

It imports `_dag`, `_records` and `_worker`; only the controller and the public modules import it.
"""
