"""How the steps of two runs differ, and where a difference begins."""

from __future__ import annotations

from ast import literal_eval
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from functionfuse._tables import SHOWN, Table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from functionfuse.runs import RunRecord, RunStep

_ARGUMENT = "argument "
_MOST_NAMED = 3  # arguments that may have changed


@dataclass(frozen=True)
class StepDiff:
    """How a step differs between two runs.

    Attributes:
        name: the full name.
        recipe: whether the recipes differ; None if that is not known.
        content: whether the stored results differ; None if that is not known.
        parts: the parts of the recipes that differ: "function", "arguments", "inputs" ...
        changes: what is known of them: "argument lr: 0.1 -> 0.2", "global SCALE: 2 -> 3",
            "helper clean() of features.py changed".
        only_in: the id of the run that alone has the step; empty if both have it.
        begins: whether no step before it differs.
    """

    name: str
    recipe: bool | None = None
    content: bool | None = None
    parts: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()
    only_in: str = ""
    begins: bool = False

    @property
    def differs(self) -> bool:
        """Whether anything differs."""
        return bool(self.recipe or self.content or self.only_in)

    @property
    def causes(self) -> tuple[str, ...]:
        """What differs in the recipe: the known changes, and the parts of which no change is known."""
        arguments = any(change.startswith(_ARGUMENT) for change in self.changes)
        functions = not all(change.startswith(_ARGUMENT) for change in self.changes)
        known = {"arguments": arguments, "function": functions}
        unknown = [part for part in self.parts if not known.get(part, False)]
        rest = f"recipe: {', '.join(unknown)}" if unknown else "recipe"
        return (*self.changes, rest) if self.recipe and (unknown or not self.changes) else self.changes

    def __str__(self) -> str:
        if self.only_in:
            return f"only in {self.only_in}"
        result = {None: (), True: ("another result",), False: ("the same result",)}[self.content]
        return "; ".join((*self.causes, *result))


class RunDiff:
    """How the steps of two runs differ. `print` shows a table of those that do, and so do notebooks.

    Args:
        a: the id of one run.
        b: of the other.
        steps: of both, by name, in the order of the graph.
    """

    def __init__(self, a: str, b: str, steps: Mapping[str, StepDiff]) -> None:
        self.a = a
        self.b = b
        self.steps = steps

    @property
    def begins(self) -> list[StepDiff]:
        """The steps where a difference begins: no step before them differs."""
        return [step for step in self.steps.values() if step.begins]

    @property
    def differing(self) -> list[StepDiff]:
        """The steps that differ: first those where a difference begins."""
        differing = [step for step in self.steps.values() if step.differs]
        return sorted(differing, key=lambda step: not step.begins)

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {"a": self.a, "b": self.b, "steps": [asdict(step) for step in self.steps.values()]}

    def __bool__(self) -> bool:
        return any(step.differs for step in self.steps.values())

    def __repr__(self) -> str:
        return self._table().text()

    def _repr_html_(self) -> str:
        return self._table().html()

    def _table(self) -> Table:
        differing = self.differing
        rows = [(step.name, "begins here" if step.begins else "", str(step)) for step in differing[:SHOWN]]
        number = f"{len(differing):,} of {len(self.steps):,} steps differ" if differing else "no step differs"
        title = f"{self.a} -> {self.b}: {number}"
        return Table(title, ("step", "difference", "what"), rows, frozenset(), len(differing) - len(rows))


def diff_of(a: RunRecord, b: RunRecord) -> RunDiff:
    """Return how the steps of two runs differ.

    Args:
        a: one run.
        b: the other.
    """
    names = {**dict.fromkeys(b.steps), **dict.fromkeys(a.steps)}
    steps: dict[str, StepDiff] = {}
    differing: set[str] = set()
    for name in names:
        one, other = a.steps.get(name), b.steps.get(name)
        if (one is None and _is_within_unmade(name, a)) or (other is None and _is_within_unmade(name, b)):
            continue
        step = _step_diff(name, one, other, a.id, b.id)
        if step.differs:
            before = {*_before(one), *_before(other)}
            begins = differing.isdisjoint(before)
            step = replace(step, begins=begins)
            differing.add(name)
        steps[name] = step
    return RunDiff(a.id, b.id, steps)


def _step_diff(name: str, one: RunStep | None, other: RunStep | None, a: str, b: str) -> StepDiff:
    if one is None or other is None:
        return StepDiff(name, only_in=a if other is None else b)
    recipe = None if one.recipe is None or other.recipe is None else one.recipe != other.recipe
    content = None if one.content is None or other.content is None else one.content != other.content
    parts = [part for part in {**one.parts, **other.parts} if one.parts.get(part) != other.parts.get(part)]
    if not recipe:
        return StepDiff(name, recipe, content)
    changes = _argument_changes(one.arguments, other.arguments)
    if not changes and "arguments" in parts:
        changes = unclear_change({name: text for name, text in other.arguments.items() if not _is_literal(text)})
    if "function" in parts:
        changes += function_changes(one, other)
    return StepDiff(name, recipe, content, tuple(parts), tuple(changes))


def _argument_changes(one: Mapping[str, str], other: Mapping[str, str]) -> list[str]:
    names = [name for name in {**one, **other} if one.get(name) != other.get(name)]
    return [f"{_ARGUMENT}{name}: {one.get(name, '(none)')} -> {other.get(name, '(none)')}" for name in names]


def unclear_change(texts: Mapping[str, str]) -> list[str]:
    """Return that one of some arguments changed, whose texts do not tell in what; nothing where there are many.

    Args:
        texts: of the arguments, by name; empty where there is none.
    """
    if not texts or len(texts) > _MOST_NAMED:
        return []
    shown = dict.fromkeys(f" ({text})" if text else "" for text in texts.values())
    return [f"{_ARGUMENT}{' or '.join(texts)} changed{''.join(shown)}"]


def _is_literal(text: str) -> bool:
    try:
        literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return False
    return True


def function_changes(one: RunStep, other: RunStep) -> list[str]:
    """Return what changed in the function of a step, and in what this uses, as far as two runs know it.

    Args:
        one: the step in one run.
        other: the same step in the other.
    """
    if one.function != other.function:
        return [f"function: {_short(one.function)} -> {_short(other.function)}"]
    is_known = bool(one.uses and other.uses)
    was, now = (
        {**{f"global {name}": f"={text}" for name, text in step.globals.items()}, **(step.uses if is_known else {})}
        for step in (one, other)
    )
    found = {use: (old, now[use]) for use, old in was.items() if now.get(use, old) != old}
    if not found and is_known:
        return [f"{use} is used now" for use in other.uses if use not in one.uses]
    return [
        f"{use}: {old[1:]} -> {new[1:]}" if old[:1] == new[:1] == "=" else f"{_named(use, other)} changed"
        for use, (old, new) in found.items()
    ]


def _named(use: str, step: RunStep) -> str:
    return f"the code of {_short(step.function)}" if use == "code" else use


def _short(qualname: str) -> str:
    return f"{qualname.rpartition('<locals>.')[2]}()"


def _is_within_unmade(name: str, run: RunRecord) -> bool:
    """Return True for a step of a dynamic graph that a run did not need, as it reused what the graph gives."""
    parent = name.rpartition("/")[0]
    while parent:
        step = run.steps.get(parent)
        if step is not None:
            return step.state != "finished"
        parent = parent.rpartition("/")[0]
    return False


def _before(step: RunStep | None) -> tuple[str, ...]:
    """Return the names of the steps that come before one: those that it needs, and the one that made it."""
    if step is None:
        return ()
    parent = step.name.rpartition("/")[0]
    return (*step.needs, parent) if parent else step.needs
