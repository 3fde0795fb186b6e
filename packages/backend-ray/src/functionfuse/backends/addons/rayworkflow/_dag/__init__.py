"""From a DAG of Ray to a graph of tasks as data."""
