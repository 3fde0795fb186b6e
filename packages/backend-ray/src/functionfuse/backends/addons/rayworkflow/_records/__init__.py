"""What is stored of a workflow: journal, workflow record, task results, lease records, retention, object references.

It imports `_dag` only.
"""
