"""What runs in the workers of Ray: tasks, the actors of isolated tasks, and the actor of waits.

It imports `_dag` and `_records` only.
"""
