"""What checkers see of decorated classes, with `Stateful` and `makes_node` and without."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, assert_type

from functionfuse import Stateful, makes_node, workflow
from functionfuse.backends.builtin.localback import LocalWorkflow
from functionfuse.nodes import Item, Node


@workflow
def one() -> int:
    return 1


@workflow
class Counter(Stateful):
    """Counts."""

    def __init__(self, start: int) -> None:
        self.value = start

    @makes_node
    def add(self, number: int, *, times: int = 1) -> int:
        self.value += self.product(number, times)
        return self.value

    @makes_node
    def parts(self) -> tuple[int, str]:
        return self.value, "counter"

    @makes_node
    @staticmethod
    def zero() -> int:
        return 0

    @makes_node
    async def later(self, number: int) -> str:
        return f"{self.value} {number}"

    def product(self, a: int, b: int) -> int:
        return a * b


@workflow
def read(counter: Counter) -> int:
    return counter.value


counter = Counter(one()).set_name("counter")
assert_type(counter.later(1), Node[str])
assert_type(counter, Counter)
assert_type(counter.get_name(), str | None)
assert_type(counter.add(one(), times=2), Node[int])
assert_type(counter.add(1).set_name("after one"), Node[int])
assert_type(counter.parts()[1], Item[str])
assert_type(counter.zero(), Node[int])
assert_type(read(counter), Node[int])
assert_type(LocalWorkflow(counter.add(1), workflow_name="counter").run(), int)
LocalWorkflow(counter, workflow_name="counter").run()
LocalWorkflow(counter, read(counter), workflow_name="counter").run()
assert isinstance(Counter.__wrapped__(1), Counter)
assert_type(Counter.__wrapped__(1), Counter)


@workflow
class Doubled(Counter):
    @makes_node
    def twice(self) -> int:
        return 2 * self.value


assert_type(Doubled(1).set_name("doubled"), Doubled)
assert_type(Doubled(1).twice(), Node[int])
assert_type(Doubled(1).add(1), Node[int])


@workflow
@dataclass
class Log(Stateful):
    lines: list[str] = field(default_factory=list[str])

    @makes_node
    def write(self, line: str) -> int:
        self.lines.append(line)
        return len(self.lines)


assert_type(Log().write("a"), Node[int])
assert_type(Log(["a"]).set_name("log"), Log)


@workflow
class Plain:
    def __init__(self, start: int) -> None:
        self.value = start

    def add(self, number: int) -> int:
        self.value += number
        return self.value


plain: Any = Plain(1)
plain.add(one()).set_name("after one")
LocalWorkflow(plain.add(2), workflow_name="plain").run()


class OfALibrary:
    def __init__(self, start: int) -> None:
        self.value = start


Later = workflow(OfALibrary)
Later(one()).set_name("later")
