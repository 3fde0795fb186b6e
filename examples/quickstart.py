"""The quick start of the documentation: a graph of three nodes, run and stored in this folder."""

from functionfuse import workflow

@workflow
def sum(a, b):
    return a + b


@workflow
def multiply(a, b):
    return a * b


a, b = 1, 1

a_plus_b = sum(a, b).set_name("node1")
a_plus_two_b = sum(a_plus_b, b).set_name("node2")
result_of_mult = multiply(a_plus_b, a_plus_two_b).set_name("node3")

from functionfuse.backends.builtin.localback import LocalWorkflow
from functionfuse.storage import storage_factory

local_workflow = LocalWorkflow(result_of_mult, workflow_name="operations")
opt = {
    "kind": "file",
    "options": {
        "path": "storage"
    }
}
storage = storage_factory(opt)
local_workflow.set_storage(storage)
_ = local_workflow.run()

from functionfuse.backends.builtin.graphback import GraphWorkflow

graph_workflow = GraphWorkflow(result_of_mult,
                               workflow_name="plot_graph",
                               doc_path='.')
graph_workflow.run()

from functionfuse.storage import storage_factory

the_workflow_name = "operations"
storage_path = "storage"
opt = {
    "kind": "file",
    "options": {
        "path": storage_path
    }
}
storage = storage_factory(opt)

all_tasks = storage.list_tasks(workflow_name=the_workflow_name, pattern="*")
print("All graph node names: ", all_tasks)

nodel_result = storage.read_task(workflow_name=the_workflow_name, task_name="node2")
print("node2:", nodel_result)
