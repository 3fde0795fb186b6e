"""What an engine tells a run of steps that it ran elsewhere, and what it sends there."""

from __future__ import annotations

import pickle
import threading
from functools import partial

import pytest

from functionfuse import workflow
from functionfuse.backends.base import BaseWorkflow
from functionfuse.backends.calls import Outcome
from functionfuse.backends.shipping import by_name, cannot_be_sent
from functionfuse.errors import NodeError, WorkflowFailed


@workflow
def add(a, b):
    return a + b


class Elsewhere(BaseWorkflow):
    """Says of every step that a child of it failed, and that another finished."""

    def execute(self, run, **_):
        for task in run.in_order():
            run.started(task)
            run.heard("started", f"{task.name}/good")
            run.heard("finished", f"{task.name}/good", 0.5)
            error = NodeError("no", name=f"{task.name}/child")
            run.heard("failed", error.name, 0.1, error)
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
    error = cannot_be_sent("n", add, args, kwargs, others, pickle.dumps, TypeError("whole"))
    with pytest.raises(NodeError, match=f"'n' cannot be sent to another process: {said} cannot be pickled"):
        raise error
    assert (error.name, error.function) == ("n", "add")


def test_what_is_referred_to_by_name():
    import random

    assert by_name(random.seed) == (getattr, (random, "seed"))
    assert by_name(partial(add, 1)) is None
