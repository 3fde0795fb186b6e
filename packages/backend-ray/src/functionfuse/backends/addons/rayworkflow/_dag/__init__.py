"""From a DAG of Ray to a graph of tasks as data: capture, options, code digests, serialization.

It imports no other room. The rooms import each other in one direction: `_dag` <- `_records` <- `_worker` <- `_graph` <-
`_controller` <- the public modules.
"""
