"""Errors: the tree, and that they survive a process."""

from __future__ import annotations

import copy
import inspect
import pickle
import re
from functools import partial

import pytest

from functionfuse import errors, workflow
from functionfuse.backends.calls import Call, called
from functionfuse.backends.report import RunReport
from functionfuse.backends.texts import HIDDEN, describe_named
from functionfuse.decorator import target_called
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


@workflow
class Service:
    def __init__(self, address, token):
        pass

    def log_in(self, user, password="", *secrets, new_token=None):
        pass

    @classmethod
    def of(cls, token):
        pass

    @staticmethod
    def connect(token, port):
        pass


class Plain(Service.__wrapped__):
    def __init__(self, password, size):
        pass


def any_number(first, *rest, token=None):
    pass


methods = target_called(Service).methods


@pytest.mark.parametrize(
    ("target", "args", "shown"),
    [
        (any_number, ("a", 1, 2), "'a', 1, 2"),
        (partial(any_number, 0), ("a", 1), "'a', 1"),
        (lambda n, api_key: n, (1, "xyzzy"), f"1, {HIDDEN}"),
        (partial(lambda n, api_key: n, 0), ("xyzzy",), HIDDEN),
        (Service, ("host", "xyzzy"), f"'host', {HIDDEN}"),
        (Plain, ("xyzzy", 2), f"{HIDDEN}, 2"),
        (methods["log_in"], ("me", "xyzzy"), f"'me', {HIDDEN}"),
        (methods["log_in"], ("me", "xyzzy", "xyzzy", "xyzzy"), f"'me', {HIDDEN}, {HIDDEN}, {HIDDEN}"),
        (methods["of"], ("xyzzy",), HIDDEN),
        (methods["connect"], ("xyzzy", 80), f"{HIDDEN}, 80"),
        (dict.fromkeys, ("ab", 1), "'ab', 1"),
        (min, (2, 1), "2, 1"),  # which has no signature
    ],
)
def test_secrets_by_position(target, args, shown):
    target = target if target in methods.values() else target_called(workflow(target))
    assert called(Call(target, args, {})) == f"called as {target.qualname}({shown})"


def test_secrets_by_keyword():
    call = Call(methods["log_in"], ("me",), {"new_token": "xyzzy", "other": [1]})
    assert called(call, 2) == f"called as Service.log_in('me', new_token={HIDDEN}, other=[1]), 2 attempts"


class Shaped:
    shape, dtype = (2, 3), "f8"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (1, "1"),
        ("x" * 18, f"{'x' * 18!r}"),
        ("x" * 21, f"str of 21: {'x' * 10!r}..."),
        (b"x" * 1000, f"bytes of 1000: {b'x' * 10!r}..."),
        (list(range(11)), "list of 11 items"),
        (["x" * 30], f"['{'x' * 15}..."),
        ({"password": 1}, "{'password': (lef..."),
        (Shaped(), "Shaped(shape=(2, 3), dtype=f8)"),
    ],
)
def test_short_texts_of_values(value, shown):
    assert describe_named("value", value, 20) == shown
