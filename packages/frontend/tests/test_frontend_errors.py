"""Errors: the tree, and that they survive a process."""

from __future__ import annotations

import copy
import inspect
import pickle
import re

import pytest

from functionfuse import errors
from functionfuse.backends.report import RunReport
from functionfuse.errors import FunctionFuseError, NodeError, NodeTimeoutError, WorkflowFailed


def drawn_tree():
    """Name to (parent, builtin base) of each error, as the module's docstring draws them."""
    tree, parents = {}, {-1: "Exception"}
    for line in errors.__doc__.splitlines():
        found = re.match(r"^    (?P<indent>[| `-]*)(?P<name>[A-Z]\w+)(?: \((?P<builtin>\w+)\))?(?:   |$)", line)
        if found:
            depth = len(found["indent"]) // 4
            parents[depth] = found["name"]
            tree[found["name"]] = (parents[depth - 1], found["builtin"])
    return tree


def coded_tree():
    tree = {}
    for name, cls in vars(errors).items():
        if inspect.isclass(cls) and issubclass(cls, Exception):
            own, *others = cls.__bases__
            tree[name] = (own.__name__, others[0].__name__ if others else None)
    return tree


def test_the_tree_is_as_drawn():
    assert drawn_tree() == coded_tree()


def test_every_error_says_what_it_is():
    assert [name for name in coded_tree() if not getattr(errors, name).__doc__] == []


@pytest.mark.parametrize("travel", [copy.copy, lambda error: pickle.loads(pickle.dumps(error))])
def test_errors_travel(travel):
    report = RunReport()
    report.failed["n"] = NodeError("no", name="n", function="f")
    for error in (NodeTimeoutError("slow", name="n", function="f"), WorkflowFailed("some", report)):
        arrived = travel(error)
        assert (type(arrived), str(arrived)) == (type(error), str(error))
    assert travel(NodeError("no", name="n", function="f")).name == "n"
    assert str(travel(WorkflowFailed("some", report)).report) == str(report)


def test_all_can_be_caught_at_once():
    assert all(issubclass(getattr(errors, name), FunctionFuseError) for name in coded_tree())


def test_how_a_report_is_shown():
    report = RunReport()
    report.finished += ["a", "b"]
    report.reused.append("c")
    error = NodeError("no", name="d")
    error.__cause__ = ValueError("no")
    report.failed["d"] = error
    report.skipped["e"] = "d"
    assert str(report).splitlines() == [
        "2 finished, 1 reused, 1 failed, 1 skipped",
        "failed  d: ValueError('no')",
        "skipped e: needs 'd'",
    ]
