"""The conformance suite of backends: what plans say of steps that have to run again."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from functionfuse.errors import NodeError
from functionfuse.testing.backend_suite import BackendSuite, requires
from functionfuse.testing.functions import fails, same
from functionfuse.testing.standard_tests import core

_FEATURES = """
LIMIT = {limit}


def clean(x):
    return min(x + {offset}, LIMIT)
"""
_SOURCE = """
from functionfuse import workflow

SCALE = {scale}
ACCESS_TOKEN = {token!r}


def smooth(x):
    return clean(x) if x else len(ACCESS_TOKEN)


@workflow
def fit(x, lr=0.1, data=None, password=""):
    return [smooth(one) * SCALE for one in [x]][0] * {factor}
"""


def _edition(**edits: Any) -> Any:
    """Return a function of a module `model.py`, which uses another, after edits in both."""
    edits = {"scale": 2, "offset": 1, "limit": 100, "factor": 1, "token": "", **edits}
    features: dict[str, Any] = {"__name__": "features"}
    exec(compile(_FEATURES.format(**edits), "features.py", "exec"), features)  # noqa: S102
    model: dict[str, Any] = {"__name__": "model", "clean": features["clean"]}
    exec(compile(_SOURCE.format(**edits), "model.py", "exec"), model)  # noqa: S102
    return model["fit"]


_CHANGES: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "argument": ({}, {"lr": 0.2}, "argument lr: 0.1 -> 0.2"),
    "arguments": ({}, {"x": 7, "lr": 0.2}, "argument x: 1 -> 7 (and 1 more)"),
    "large argument": ({}, {"data": list(range(1, 101))}, "argument data changed (list of length 100)"),
    "code": ({"factor": 5}, {}, "the code of fit() changed"),
    "global": ({"scale": 3}, {}, "global SCALE: 2 -> 3"),
    "helper of a helper": ({"offset": 5}, {}, "helper clean() of features.py changed"),
    "global of a helper": ({"limit": 50}, {}, "global LIMIT of features.py: 100 -> 50"),
    "global and argument": ({"scale": 3}, {"lr": 0.2}, "global SCALE: 2 -> 3 (and 1 more)"),
    "secret global": ({"token": "hidden value"}, {}, "changed: function"),
}


@requires("store")
class ReasonTests(BackendSuite, suite=True):
    """A plan says in which respect a step is not what it was."""

    @core
    def test_what_changed(self, stored: Any) -> None:
        """Arguments, the code, and what it uses at any depth, as they were in the run that made the result."""

        def make(edition: Any, arguments: Any) -> Any:
            given = {"x": 1, "lr": 0.1, "data": list(range(100)), **arguments}
            return stored(_edition(**edition)(**given).set_name("fit"))

        assert make({}, {}).run() == 4
        reasons = {name: make(*change[:2]).plan()["fit"].reason for name, change in _CHANGES.items()}
        assert reasons == {name: reason for name, (*_, reason) in _CHANGES.items()}
        by_node = make({}, {"lr": same(0.1).set_name("rate")}).plan()["fit"].reason
        assert by_node == "argument lr: 0.1 -> the result of 'rate' (and 1 more)"
        assert make({}, {}).plan()["fit"].reason == "stored, with the same recipe"

    def test_a_secret_argument(self, stored: Any) -> None:
        """Its value is in no reason."""

        def make(password: str) -> Any:
            return stored(_edition()(1, password=password).set_name("fit"))

        make("one hidden value").run()
        assert make("another hidden value").plan()["fit"].reason == "argument password changed"

    @core
    def test_inputs(self, stored: Any) -> None:
        """Those that will run, or that are others, are named."""

        def make(name: str, value: int, more: int) -> Any:
            split, other = same(value).set_name("split"), same(8).set_name("other")
            taken = {"split": split, "other": other}[name]
            return stored(same([taken, more]).set_name("fit"), split, other)

        make("split", 1, 0).run()
        assert make("other", 1, 0).plan()["fit"].reason == "input 'other' changed"
        assert make("split", 2, 1).plan()["fit"].reason == "argument value changed (list of length 2) (and 1 more)"

    def test_a_run_that_failed_in_between(self, stored: Any) -> None:
        """What is told is the difference to the result that is stored."""

        def make(value: int, failing: bool = False) -> Any:
            needs = fails("no").set_name("bad") if failing else 0
            return stored(same(value).set_name("fit") if not failing else _edition()(needs, value).set_name("fit"))

        make(1).run()
        with pytest.raises(NodeError):
            make(2, failing=True).run()
        assert make(3).plan()["fit"].reason == "argument value: 1 -> 3"

    def test_an_argument_without_a_fingerprint(self, stored: Any) -> None:
        """Is named with the parameter that takes it."""
        stored(same("plain").set_name("n")).run()
        made = stored(same({"lock": threading.Lock()}).set_name("n"))
        with pytest.warns(UserWarning, match="argument value cannot be fingerprinted"):
            assert made.plan()["n"].reason.startswith("argument value cannot be fingerprinted: a _thread.lock")

    @core
    def test_events_carry_reasons(self, stored: Any) -> None:
        """Of a step that starts, or is reused."""

        def make(value: int) -> Any:
            made = stored(same("a").set_name("kept"), same(value).set_name("made"))
            made.add_observer(lambda event: events.append((event.kind, event.name, event.reason)))
            return made

        events: list[tuple[str, str, str]] = []
        make(1).run()
        del events[:]
        make(2).run()
        assert ("reused", "kept", "stored, with the same recipe") in events
        assert ("started", "made", "argument value: 1 -> 2") in events
