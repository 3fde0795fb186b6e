"""What helps to find a mistake: plain functions, inline runs, short tracebacks, and the line that failed."""

from __future__ import annotations

import io
import json
import linecache
import os
import pdb
import pickle
import traceback
from functools import partial

import pytest

from functionfuse import workflow
from functionfuse.backends.base import BaseWorkflow
from functionfuse.backends.failed_inputs import FailedInput
from functionfuse.backends.plugins import InitializerPlugin
from functionfuse.backends.serialization import Serializer, deserialized_outcome
from functionfuse.backends.tracebacks import CodeLine, hide_own_frames, user_line
from functionfuse.errors import NodeError, OptionError, UsageError, WorkflowFailed
from functionfuse.testing import MemoryStore
from functionfuse.testing.functions import IncrementalSum, add, fails, noted, noted_words, same


class Here(BaseWorkflow):
    """Runs nodes in this process."""

    def execute(self, run):
        for task in run.in_order():
            run.perform_here(task)


here = partial(Here, workflow_name="debugging")


class ByName(pickle.Pickler):
    def reducer_override(self, obj):
        return NotImplemented


def divide(x):
    return 1 / x


@workflow
def invert(x):
    return divide(x)


def last_line(error):
    return str(error).splitlines()[-1]


def frames(error):
    """The functions in the traceback of an error."""
    return [frame.name for frame in traceback.extract_tb(error.__traceback__)]


def failure(*nodes, **options):
    with pytest.raises(NodeError) as caught:
        here(*nodes).run(**options)
    return caught.value


# -- the line that failed


def test_the_text_ends_with_the_users_own_line():
    line = divide.__code__.co_firstlineno + 1
    assert str(failure(invert(0).set_name("n"))).splitlines() == [
        "node 'n' failed: ZeroDivisionError: division by zero",
        "  called as invert(0)",
        f"  at {__file__}:{line}, in divide: return 1 / x",
    ]


@pytest.mark.parametrize("option", ["retry", "timeout", "plugin", "check_arguments"])
def test_whatever_is_set_for_the_node(option):
    workflow_ = here(invert(0))
    if option == "retry":
        workflow_.query().set_retry(1)
    elif option == "timeout":
        workflow_.query().set_timeout(60)
    elif option == "plugin":
        workflow_.query().set_plugin(InitializerPlugin(dict))
    with pytest.raises(NodeError) as caught:
        workflow_.run(**({"check_arguments": True} if option == "check_arguments" else {}))
    assert last_line(caught.value).endswith(", in divide: return 1 / x")


def test_a_library_has_not_the_users_line():
    """It is the line that calls the library; there is none if the node calls it itself."""

    @workflow
    def parse(text):
        return json.loads(text)

    assert last_line(failure(parse("{"))).endswith(", in parse: return json.loads(text)")
    assert last_line(failure(workflow(json.loads)("{"))) == "  called as loads('{')"


def test_errors_of_function_fuse_in_a_function():
    """They are raised in its modules, because of a line of the user's."""

    @workflow
    def decide():
        node = add(1, 2)
        return 1 if node else 2

    error = failure(decide())
    assert last_line(error).endswith(", in decide: return 1 if node else 2")
    assert frames(error.__cause__) == ["decide"]


def test_a_line_without_a_source():
    space = {}
    exec(compile("def nowhere():\n    raise KeyError('no')", "<made>", "exec"), space)
    assert last_line(failure(workflow(space["nowhere"])())) == "  at <made>:2, in nowhere"


def test_the_source_of_a_notebook(monkeypatch):
    """Workers do not have it, but the process that shows the error does."""
    line = CodeLine("/tmp/ipykernel_1/2.py", 1, "fit")
    assert str(line) == "at /tmp/ipykernel_1/2.py:1, in fit"
    monkeypatch.setitem(linecache.cache, line.file, (5, None, ["1 / 0\n"], line.file))
    assert str(line) == "at /tmp/ipykernel_1/2.py:1, in fit: 1 / 0"


def test_an_outcome_takes_the_line_along():
    from functionfuse.backends.calls import Call
    from functionfuse.backends.performing import perform

    outcome = perform(Call(invert, (0,), {}))
    data = Serializer(ByName).outcome(outcome)
    arrived = deserialized_outcome(data)
    assert arrived.line == user_line(outcome.error)
    assert arrived.line.function == "divide"
    assert "performing" not in arrived.error.__notes__[-1]


def test_an_error_that_was_not_raised():
    assert user_line(ValueError()) is None


def test_secrets_are_left_out_of_the_line(monkeypatch):
    from functionfuse import Env

    monkeypatch.setenv("API_TOKEN", "hush-hush")
    space = {}
    exec(compile("def f(token):\n    raise KeyError", "hush-hush.py", "exec"), space)
    assert "hush-hush" not in str(failure(workflow(space["f"])(Env("API_TOKEN"))))


# -- tracebacks


def test_frames_of_function_fuse_are_hidden():
    error = failure(invert(0))
    assert frames(error) == ["failure"]
    assert frames(error.__cause__) == ["invert", "divide"]


def test_all_frames_are_shown_on_request(monkeypatch):
    monkeypatch.setenv("FUNCTIONFUSE_TRACEBACK", "full")
    error = failure(invert(0))
    assert frames(error)[0] == "failure"
    assert "results" in frames(error)
    assert frames(error.__cause__)[-3:] == ["evaluate", "invert", "divide"]


def test_causes_and_contexts():
    @workflow
    def outer():
        try:
            here(invert(0)).run()
        except NodeError as error:
            raise KeyError from error

    error = failure(outer()).__cause__
    assert [type(one) for one in (error, error.__cause__)] == [KeyError, NodeError]
    assert frames(error.__cause__) == ["outer"]
    assert frames(error.__cause__.__cause__) == ["invert", "divide"]


def test_an_error_without_other_frames_is_shown_whole():
    """It is a mistake of Function Fuse, whose frames are needed; an error that is raised on purpose says all."""
    space = {"__name__": "functionfuse.inside", "UsageError": UsageError}
    exec("def inside(kind):\n    try:\n        raise kind\n    except kind as error:\n        return error", space)
    for kind, shown in ((ValueError, ["inside"]), (UsageError, [])):
        error = space["inside"](kind)
        hide_own_frames(error)
        assert frames(error) == shown


def test_a_failed_graph():
    with pytest.raises(WorkflowFailed) as caught:
        here(invert(0)).run(on_error="continue")
    assert frames(caught.value) == ["test_a_failed_graph"]


# -- the plain function, and inline runs


def test_the_plain_function_is_reachable():
    assert invert.__wrapped__(2) == 0.5
    assert IncrementalSum.__wrapped__(1).add(2) == 3


def test_what_a_function_raises_is_raised():
    with pytest.raises(ZeroDivisionError) as caught:
        here(invert(0).set_name("n")).run(inline=True)
    assert frames(caught.value) == ["test_what_a_function_raises_is_raised", "invert", "divide"]
    assert caught.value.__notes__ == ["in node 'n', called as invert(0)"]


def test_a_debugger_after_a_failure():
    """It stops where the function raised, with the frame of the workflow's program above it."""
    try:
        here(invert(0)).run(inline=True)
    except ZeroDivisionError as error:
        output = io.StringIO()
        debugger = pdb.Pdb(stdin=io.StringIO("p x\nup\nup\np 'outermost', __name__\nq\n"), stdout=output, nosigint=True)
        debugger.reset()
        debugger.interaction(None, error.__traceback__)
    assert "-> return 1 / x" in output.getvalue()
    assert "(Pdb) 0\n" in output.getvalue()
    assert f"('outermost', {__name__!r})" in output.getvalue()


def test_nothing_is_stored_or_reused(tmp_path):
    log = str(tmp_path / "log")
    store = MemoryStore()
    workflow_ = here(noted(log, "ran", 1).set_name("n"))
    workflow_.set_storage(store)
    assert workflow_.run() == 1
    before = store.list_tasks("debugging")
    assert workflow_.run(inline=True) == 1
    assert store.list_tasks("debugging") == before
    assert len(workflow_.runs()) == 1
    assert noted_words(log) == ["ran", "ran"]


def test_objects_graphs_and_items():
    @workflow
    def grow(depth):
        return grow(depth - 1) if depth else same([7])

    total = IncrementalSum(1)
    total.add(2)
    assert here(total.add(grow(50)[0]), grow(2)[0]).run(inline=True) == [10, 7]


def test_several_results_and_one():
    assert here(add(1, 2)).run(inline=True) == 3
    assert here(add(1, 2), add(3, 4)).run(inline=True) == [3, 7]


def test_plugins_and_variables_are_set():
    seen = []

    @workflow
    def variable():
        seen.append("called")
        return os.environ["FOR_INLINE"]

    workflow_ = here(variable())
    workflow_.supports = workflow_.supports | {"environment"}
    workflow_.query().set_plugin(InitializerPlugin(lambda: seen.append("plugin")))
    workflow_.query().set_environment({"FOR_INLINE": "set"})
    assert workflow_.run(inline=True) == "set"
    assert seen == ["plugin", "called"]
    assert "FOR_INLINE" not in os.environ


def test_retries_and_time_limits_do_not_hold():
    calls = []

    @workflow
    def flaky():
        calls.append(1)
        raise ConnectionError

    workflow_ = here(flaky())
    workflow_.query().set_retry(3)
    workflow_.query().set_timeout(0.000001)
    with pytest.raises(ConnectionError):
        workflow_.run(inline=True)
    assert calls == [1]


def test_changed_arguments_are_found():
    @workflow
    def drains(values):
        return values.pop()

    with pytest.raises(Exception, match="changed"):
        here(drains([1])).run(inline=True, check_arguments=True)


def test_going_on_after_a_failure():
    bad = fails("no").set_name("bad")
    with pytest.raises(WorkflowFailed) as caught:
        here(same(bad), same(1).set_name("good")).run(inline=True, on_error="continue")
    assert (list(caught.value.report.failed), caught.value.report.finished) == (["bad"], ["good"])


def test_failures_that_are_tolerated():
    @workflow
    def missing(value):
        return isinstance(value, FailedInput)

    workflow_ = here(missing(fails("no")).set_name("tolerant"))
    workflow_.query("tolerant").allow_failed_inputs()
    assert workflow_.run(inline=True) is True


def test_arguments_that_cannot_be_had():
    with pytest.raises(NodeError, match="its arguments cannot be put together"):
        here(add(same([])[3], 1)).run(inline=True)


def test_events_are_reported():
    events = []
    workflow_ = here(add(1, 2).set_name("n"))
    workflow_.add_observer(lambda event: events.append((event.kind, event.name)))
    workflow_.run(inline=True)
    assert events == [("started", "n"), ("finished", "n")]


def test_an_exit_and_an_interrupt_are_plain():
    for kind in (SystemExit, KeyboardInterrupt):

        @workflow
        def leaves(kind):
            raise kind("leaving")

        with pytest.raises(kind, match="leaving"):
            here(leaves(kind)).run(inline=True)


def test_what_the_last_run_completed_is_still_known():
    """A run in a debugger does not make the next `retry_failed` forget it."""
    calls = []

    @workflow
    def first():
        calls.append("first")
        return 0

    workflow_ = here(invert(first()))
    workflow_.set_storage(MemoryStore())
    with pytest.raises(NodeError):
        workflow_.run()
    with pytest.raises(ZeroDivisionError):
        workflow_.run(inline=True)
    with pytest.raises(NodeError):
        workflow_.run(retry_failed=True)
    assert calls == ["first", "first"]


def test_a_backend_that_does_not_run_inline():
    with pytest.raises(OptionError, match="inline=True is an option of run"):
        here(add(1, 2)).spec(inline=True)
    assert here(add(1, 2)).run(inline=False) == 3
