"""What checkers see of decorated functions, of their nodes, and of items of these."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, assert_type

from functionfuse import Env, File, task, workflow
from functionfuse.nodes import Item, Node


class Split(NamedTuple):
    train: list[float]
    test: list[float]


@workflow
def add(a: int, b: int = 1, *, scale: float = 1.0) -> int:
    return round((a + b) * scale)


@task
def pair(n: int) -> tuple[int, str]:
    return n, str(n)


@workflow
def load(n: int) -> dict[str, list[float]]:
    return {"values": [float(n)]}


@workflow
def split(values: Sequence[float]) -> Split:
    return Split(list(values), [])


@workflow
def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


@workflow
def largest(values: list[int]) -> int:
    return max(values)


@workflow
def best(scores: Mapping[str, float]) -> str:
    return max(scores, key=lambda name: scores[name])


@workflow
def lowest(scores: dict[str, float]) -> float:
    return min(scores.values())


@workflow
def text(n: int, unit: str = "m", *, bold: bool = False) -> str:
    return f"{n} {unit} {bold}"


@workflow
def anything(value: Any) -> Any:
    return value


@workflow
def collect(*values: float, **named: str) -> None:
    print(values, named)


@workflow
def optional(n: int) -> list[int] | None:
    return [n] if n else None


@workflow
def count(file: File, least: int | None = None) -> int:
    return len(open(file).read()) + (least or 0)


@workflow
def call(function: Callable[[int], int]) -> int:
    return function(1)


# Nodes have the type of the result.
node = add(1, b=2, scale=0.5)
assert_type(node, Node[int])
assert_type(node.set_name("three"), Node[int])
assert_type(node.get_name(), str | None)
assert_type(add.__wrapped__(1, b=2), int)
assert_type(add.__name__, str)
assert_type(workflow(add)(1), Node[int])
assert_type(collect(1.0, node, name="x"), Node[None])

# Items have the types of the items.
assert_type(pair(1)[0], Item[int])
assert_type(pair(1)[1], Item[str])
assert_type(load(1)["values"], Item[list[float]])
assert_type(load(1)["values"][0], Item[float])
assert_type(load(1)["values"][1:], Item[list[float]])
assert_type(split([])[0], Item[list[float]])
assert_type(text(1)[0], Item[str])
assert_type(anything(1)["a"][2], Item[Any])
assert_type(optional(1)[0], Item[Any])

# A node goes where its value goes, alone and in containers.
add(node, b=node, scale=add(1))
add(pair(1)[0])
mean([node, 1.0, load(1)["values"][0]])
mean(load(1)["values"])
mean([add(n) for n in range(3)])
largest([node, 2])
largest([add(n) for n in range(3)])
best({"a": mean([1.0]), "b": 2.0})
best({str(n): mean([1.0]) for n in range(3)})
anything([{"a": (node, {node})}])
nodes = [add(n) for n in range(3)]
mean(nodes)
largest([*nodes])
scores = {"a": mean([1.0])}
best(scores)
lowest({**scores})
annotated: list[Any] = [add(n) for n in range(3)]
largest(annotated)
count(File("words.txt"))
count(File("words.txt"), least=node)
text(node, Env("UNIT", "m"))
call(abs)
call(add.__wrapped__)

# Everything that is called can be decorated.
assert_type(workflow(math.sqrt)(2.0), Node[float])
assert_type(workflow(functools.partial(max, 2.0))(3.0).set_name("power").get_name(), str | None)
workflow(lambda: 1)().set_name("one")
workflow(sorted)([3, 1, 2]).set_name("sorted")


# Functions that call decorated functions, and return values or nodes.
@workflow
def halve_until(value: float, limit: float) -> float:
    if value <= limit:
        return value
    return halve_until(value / 2, limit)


@workflow
def sum_of(n: int) -> list[int]:
    return [add(k) for k in range(n)]


assert_type(halve_until(100, 10), Node[float])
assert_type(sum_of(3)[0], Item[int])


# Nodes in annotations.
def named(node: Node[float], name: str) -> Node[float]:
    return node.set_name(name)


def name_of(node: Node) -> str:
    return node.get_name() or ""


def both(first: Node[int] | Item[int], second: Node[int] | Item[int]) -> Node[float]:
    return mean([first, second])


assert_type(named(node, "float"), Node[float])
name_of(node)
both(node, pair(1)[0])
by_name: dict[str, Node[int]] = {"node": node}
numbers = {node: 1}
assert node is not numbers
maybe: Node[int] | None = None
if maybe is not None:
    maybe.set_name("there")


class Holder:
    @workflow
    def method(self, n: int) -> int:
        return n


assert_type(Holder().method(1), Node[int])
Holder.method(Holder(), 1).set_name("called on the class")


@workflow
async def fetch(page: int) -> str:
    """Return the text of a page."""
    return str(page)


assert_type(fetch(1), Node[str])
assert_type(fetch(node), Node[str])
