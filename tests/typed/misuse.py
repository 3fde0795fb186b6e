"""What is wrong, and which checkers say so: their names, and the words of the table in docs/typing.md."""

from __future__ import annotations

from functionfuse import Stateful, makes_node, workflow
from functionfuse.backends.builtin.localback import LocalWorkflow


@workflow
def add(a: int, b: int = 1) -> int:
    return a + b


@workflow
def pair(n: int) -> tuple[int, str]:
    return n, str(n)


@workflow
def total(values: list[int]) -> int:
    return sum(values)


@workflow
class Counter(Stateful):
    def __init__(self, start: int) -> None:
        self.value = start

    @makes_node
    def step(self, by: int) -> int:
        self.value += by
        return self.value


node = add(1)
nodes = [node, node]
counter = Counter(1)
local = LocalWorkflow(node, workflow_name="local")

add("one")  # mypy pyright: an argument of a wrong type
add()  # mypy pyright: a missing argument
add(1, 2, 3)  # mypy pyright: too many arguments
add(1, c=2)  # mypy pyright: an unknown keyword
add(pair(1))  # -: a node whose result has a wrong type
total(nodes)  # mypy pyright: a variable of nodes for a `list`, though it is right
node.set_name(1)  # mypy pyright: a name that is no text
node[0].set_name("x")  # mypy pyright: a name for an item
for value in node:  # mypy pyright: a loop over a node
    print("value")
first, second = pair(1)  # mypy pyright: a node unpacked
[*node]  # pyright: a node unpacked in a list
1 in node  # mypy pyright: `in` of a node
if node:  # pyright: a node as a condition
    print("yes")
if node < 1:  # pyright: a comparison as a condition
    print("less")
if node == 1:  # pyright: a comparison for equality as a condition
    print("equal")
add(node + 1)  # mypy pyright: arithmetic with a node
add(-node)  # mypy pyright: its negative
add(1 + node)  # -: arithmetic with a node on the right
len(node)  # -: the length of a node
node.real  # -: an attribute of a node
print(f"{node}")  # -: a node in a text
counter.step("one")  # mypy pyright: an argument of a method
counter.jump(1)  # mypy pyright: a method that there is not
Counter("one")  # mypy pyright: an argument of a class
LocalWorkflow(1, workflow_name="x")  # mypy pyright: a workflow of a value
LocalWorkflow(workflow_name="x")  # mypy pyright: a workflow of nothing
LocalWorkflow(node)  # mypy pyright: a workflow without a name
local.run() + "text"  # mypy pyright: a result used with a wrong type
local.run(max_worker=2)  # mypy pyright: an unknown option of `run`
workflow(3)  # mypy pyright: what cannot be decorated
