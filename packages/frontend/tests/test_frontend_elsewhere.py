"""What an engine tells a run of steps that it ran elsewhere, and what it sends there."""

from __future__ import annotations

import pickle
import threading
from functools import partial

import cloudpickle  # noqa: TID251  as an engine brings it
import pytest

from functionfuse import workflow
from functionfuse.backends.base import BaseWorkflow
from functionfuse.backends.calls import Call, Outcome, RemoteError
from functionfuse.backends.serialization import (
    Serializer,
    by_name,
    deserialized_error,
    deserialized_outcome,
    unserializable,
)
from functionfuse.backends.texts import described, shown
from functionfuse.errors import NodeError, WorkflowFailed


@workflow
def add(a, b):
    return a + b


class Elsewhere(BaseWorkflow):
    """Says of every step that a child of it failed, and that another finished."""

    def execute(self, run):
        for task in run.in_order():
            run.started(task)
            run.log.noted("started", f"{task.name}/good")
            run.log.noted("finished", f"{task.name}/good", 0.5)
            error = NodeError("no", name=f"{task.name}/child")
            run.log.noted("failed", error.name, 0.1, error)
            run.settle(task, Outcome(None, None, error, 1.0))


def test_a_child_that_failed_elsewhere():
    heard = []
    first = add(1, 1).set_name("first")
    made = Elsewhere(add(first, 1).set_name("second"), workflow_name="elsewhere")
    made.add_observer(lambda event: heard.append((event.kind, event.name)))
    with pytest.raises(WorkflowFailed) as caught:
        made.run(on_error="continue")
    report = caught.value.report
    assert list(report.failed) == ["first/child"]
    assert report.skipped == {"first": "first/child", "second": "first/child"}
    assert report.finished == ["first/good"]
    assert heard == [
        ("started", "first"),
        ("started", "first/good"),
        ("finished", "first/good"),
        ("failed", "first/child"),
        ("failed", "first"),
        ("skipped", "second"),
    ]


@pytest.mark.parametrize(
    ("args", "kwargs", "others", "said"),
    [
        ((1, threading.Lock()), {}, {}, r"argument 1 \(lock\)"),
        ((1,), {"b": threading.Lock()}, {}, r"argument 'b' \(lock\)"),
        ((1, 2), {}, {"the object": threading.Lock()}, r"the object \(lock\)"),
        ((1, 2), {}, {}, "the call"),
    ],
)
def test_the_culprit_is_named(args, kwargs, others, said):
    error = unserializable(Call(add, args, kwargs), "n", pickle.dumps, TypeError("whole"), others)
    with pytest.raises(NodeError, match=f"'n' cannot be sent to another process: {said} cannot be pickled"):
        raise error
    assert (error.name, error.function) == ("n", "add")


def test_what_is_referred_to_by_name():
    import random

    assert by_name(random.seed) == (getattr, (random, "seed"))
    assert by_name(partial(add, 1)) is None


class Coded(Exception):
    def __init__(self, code):
        super().__init__(f"code {code}")
        self.code = code

    def __reduce__(self):
        return Coded, (self.code,), {**vars(self), "lock": threading.Lock()} if self.code == "held" else vars(self)


class Picky(Exception):
    """Can be pickled, but not unpickled."""

    def __reduce__(self):
        return int, ("no number",)


serializer = Serializer(cloudpickle.Pickler)


def raised(error, cause=None):
    try:
        raise error from cause
    except BaseException as caught:
        return caught


def test_an_error_keeps_what_it_is():
    cause = raised(KeyError("missing"), raised(OSError(5, "broken")))
    cause.add_note("look there")
    error = deserialized_error(serializer.error(raised(Coded(7), cause)), "in the pod")
    assert (type(error), error.code, str(error)) == (Coded, 7, "code 7")
    assert (type(error.__cause__), error.__cause__.args) == (KeyError, ("missing",))
    assert error.__cause__.__notes__ == ["look there"]
    assert error.__cause__.__cause__.args == (5, "broken")
    assert "in the pod:\nTraceback" in error.__notes__[-1]


class TwoArguments(Exception):
    def __init__(self, status, body):
        super().__init__(f"{status} {body}")
        self.status = status


class NoText(Exception):
    def __str__(self):
        return self.missing

    __repr__ = __str__


class MissingFile(OSError):
    def __init__(self, path, lock=None):
        super().__init__(2, "no such file", path)
        self.lock = lock


def arrived(error, cause=None):
    return deserialized_error(serializer.error(raised(error, cause)))


@pytest.mark.parametrize("error", [Picky("1"), Coded("held")], ids=["not unpickled", "not pickled"])
def test_an_error_whose_own_reduction_fails(error):
    came = arrived(error, ValueError("why"))
    assert (type(came), came.args, came.__cause__.args) == (type(error), error.args, ("why",))


def test_an_error_that_cannot_travel_is_described():
    class Held(Exception):
        lock = threading.Lock()

    came = arrived(Held("here"), ValueError("why"))
    assert (type(came), str(came), came.__cause__.args) == (RemoteError, "Held: here", ("why",))


def test_no_constructor_is_called_again():
    came = arrived(TwoArguments(503, "busy"), MissingFile("f"))
    assert (type(came), str(came), came.status) == (TwoArguments, "503 busy", 503)
    cause = came.__cause__
    assert (type(cause), cause.errno, cause.strerror, cause.filename) == (MissingFile, 2, "no such file", "f")


def test_an_attribute_that_cannot_travel_is_left_out():
    came = arrived(MissingFile("f", threading.Lock()))
    assert (type(came), came.filename, hasattr(came, "lock")) == (MissingFile, "f", False)
    came = arrived(ValueError("bad", threading.Lock()))
    assert (type(came), came.args[0]) == (ValueError, "bad")
    assert "lock" in came.args[1]


def test_a_group_of_errors():
    inner = raised(TwoArguments(503, "busy"), KeyError("k"))
    inner.add_note("look there")
    came = arrived(BaseExceptionGroup("some", [inner, NoText(), BaseExceptionGroup("more", [SystemExit(3)])]))
    assert (came.message, came.exceptions[0].status, came.exceptions[0].__notes__) == ("some", 503, ["look there"])
    assert came.exceptions[0].__cause__.args == ("k",)
    assert (type(came.exceptions[1]), came.exceptions[2].exceptions[0].code) == (NoText, 3)


def test_an_error_that_is_a_part_of_itself():
    error = TwoArguments(1, "a")
    error.other = TwoArguments(2, "b")
    error.other.other = error
    came = arrived(error)
    assert (came.status, came.other.status) == (1, 2)


def test_a_long_chain_of_causes_is_described():
    error = None
    for number in range(5000):
        following = ValueError(number)
        following.__cause__ = error
        error = following
    assert str(deserialized_error(serializer.error(error))) == "ValueError: 4999"


def test_errors_without_text():
    assert described(NoText()) == "NoText: (no text, as its __str__ raised AttributeError)"
    assert described(ValueError()) == "ValueError"
    assert shown(NoText()).startswith("<test_frontend_elsewhere.NoText object")
    assert "NoText" in arrived(NoText()).__notes__[-1]


def test_errors_within_what_travels():
    inner = NodeError("no", name="n")
    inner.__cause__ = raised(Picky("1"))
    came = pickle.loads(serializer.dumps_with_errors({"n": inner}))["n"]
    assert (type(came), came.name, type(came.__cause__)) == (NodeError, "n", Picky)


def test_outcomes():
    assert deserialized_outcome(serializer.outcome(Outcome([1], None, None, 0.5))) == Outcome([1], None, None, 0.5)
    failed = deserialized_outcome(serializer.outcome(Outcome(None, None, raised(Coded(3)), 0.5, 2)))
    assert (failed.error.code, failed.attempts) == (3, 2)
    unpicklable = deserialized_outcome(serializer.outcome(Outcome(threading.Lock(), None, None, 0.5)))
    assert str(unpicklable.error).startswith("the result, a _thread.lock, cannot be pickled")
    assert isinstance(deserialized_outcome(b"no pickle").error, pickle.UnpicklingError)
