"""Coroutines of a local workflow without workers: together on one event loop, in a thread of its own."""

from __future__ import annotations

import asyncio
import functools
import os
import signal
import threading

import pytest

from functionfuse import workflow
from functionfuse.backends import coroutines
from functionfuse.backends.builtin.localback import LocalWorkflow
from functionfuse.errors import NodeTimeoutError, OptionError, RunCancelled, WorkflowFailed
from functionfuse.testing import MemoryStore, wait_until
from functionfuse.testing.coroutine_functions import LateSum, added_by_wrapper, added_later, setting, waits_around
from functionfuse.testing.functions import add, noted_words, same


class Meeting:
    """Lets coroutines go on when so many are there."""

    def __init__(self, expected):
        self.expected = expected
        self.present = self.most = 0
        self.met = asyncio.Event()

    async def attend(self):
        self.present += 1
        self.most = max(self.most, self.present)
        if self.present == self.expected:
            self.met.set()
        await self.met.wait()
        self.present -= 1


meetings = {}


@pytest.fixture
def meeting(request):
    name = request.node.name
    meetings[name] = Meeting(3)
    yield name
    del meetings[name]


@workflow
async def meets(name, value=None):
    await meetings[name].attend()
    return value


@workflow
async def finds_others(name):
    """Return how many of these calls run, this one included."""
    found = meetings[name]
    found.present += 1
    await asyncio.sleep(0.01)
    found.most = max(found.most, found.present)
    found.present -= 1


@workflow
def thread_and_loop():
    async def number():
        return 5

    return threading.current_thread() is threading.main_thread(), asyncio.run(number())


@pytest.fixture
def log(tmp_path):
    return str(tmp_path / "log")


def flow(*nodes, **options):
    return LocalWorkflow(*nodes, workflow_name="w", **options)


# -- together


def test_coroutines_run_together(meeting):
    assert flow(*[meets(meeting, n) for n in range(3)]).run() == [0, 1, 2]


def test_the_most_at_a_time(meeting):
    flow(*[finds_others(meeting) for _ in range(12)]).run(max_concurrency=4)
    assert 1 < meetings[meeting].most <= 4


def test_one_at_a_time(meeting):
    flow(*[finds_others(meeting) for _ in range(4)]).run(max_concurrency=1)
    assert meetings[meeting].most == 1


def test_a_limit_of_a_tag(meeting, tmp_path):
    made = flow(*[finds_others(meeting).set_name(f"n{n}") for n in range(8)])
    (tmp_path / "profile.toml").write_text('[limits]\napi = 2\n[nodes.".*"]\ntags = ["api"]\n')
    made.apply_profile(tmp_path / "profile.toml")
    made.run()
    assert meetings[meeting].most <= 2


@pytest.mark.parametrize("kind", ["function", "coroutine"])
def test_those_of_a_returned_graph_run_together(meeting, kind):
    @workflow
    def plain():
        return [meets(meeting, n) for n in range(3)]

    @workflow
    async def asynchronous():
        await asyncio.sleep(0)
        return [meets(meeting, n) for n in range(3)]

    made = plain() if kind == "function" else asynchronous()
    assert flow(add(made, [3]), same(4)).run() == [[0, 1, 2, 3], 4]


def test_a_function_runs_in_this_thread_while_coroutines_wait(meeting):
    """It may run a loop of its own."""

    @workflow
    def comes_last():
        wait_until(lambda: meetings[meeting].present == 2)
        meetings[meeting].met._loop.call_soon_threadsafe(meetings[meeting].met.set)
        return thread_and_loop.__wrapped__()

    assert flow(comes_last(), meets(meeting, 1), meets(meeting, 2)).run() == [(True, 5), 1, 2]


def test_the_loop_goes_on_while_a_result_is_saved(meeting):
    class Waiting(MemoryStore):
        def save(self, workflow_name, task_name, value, **more):
            if task_name == "first":
                wait_until(lambda: meetings[meeting].present == 2)
                meetings[meeting].met._loop.call_soon_threadsafe(meetings[meeting].met.set)
            return super().save(workflow_name, task_name, value, **more)

    made = flow(added_later(1, 1).set_name("first"), meets(meeting, 3), meets(meeting, 4))
    made.set_storage(Waiting())
    assert made.run() == [2, 3, 4]


def test_where_this_thread_runs_a_loop(meeting):
    """As in a notebook, whose cells the loop of the kernel calls."""

    async def cell():
        return flow(*[meets(meeting, n) for n in range(3)], same(3)).run()

    assert asyncio.run(cell()) == [0, 1, 2, 3]


def test_what_returns_a_coroutine_where_this_thread_runs_a_loop():
    async def cell():
        return flow(added_by_wrapper(1, 2)).run()

    assert asyncio.run(cell()) == 3


def test_context_variables_of_the_driver():
    @workflow
    async def seen():
        await asyncio.sleep(0)
        return setting.get()

    token = setting.set("by the driver")
    try:
        assert flow(seen()).run() == "by the driver"
    finally:
        setting.reset(token)


def test_output_is_told_apart(meeting):
    @workflow
    async def prints(name, word):
        print(f"{word} 1")
        await meetings[name].attend()
        print(f"{word} 2")

    made = flow(*[prints(meeting, word).set_name(word) for word in "abc"])
    output = {}
    made.add_observer(lambda event: output.update({event.name: str(event.output)}))
    made.run()
    assert output == {word: f"{word} 1\n{word} 2\n" for word in "abc"}


def test_an_environment_of_its_own():
    """Nothing else runs meanwhile: the variables are those of the process."""

    @workflow
    async def variable():
        await asyncio.sleep(0.01)
        return os.environ.get("FUNCTIONFUSE_TEST")

    made = flow(*[variable().set_name(f"n{n}") for n in range(4)])
    made.query("n1").set_environment({"FUNCTIONFUSE_TEST": "one"})
    made.query("n2").set_environment({"FUNCTIONFUSE_TEST": "two"})
    assert made.run() == [None, "one", "two", None]


def test_a_collapsed_step():
    made = flow(add(added_later(1, 2).set_name("a"), 3).set_name("b")).edit().collapse("a|b").done()
    assert made.run() == 6


def test_an_object_that_coroutines_change():
    late = LateSum()
    last = [late.add(n) for n in range(4)][-1]
    store = MemoryStore()
    made = flow(last, late.present())
    made.set_storage(store)
    assert [made.run(), made.run()] == [[6, 6], [6, 6]]


# -- failures


@workflow
async def fails_after_meeting(name):
    await meetings[name].attend()
    raise ValueError("no")


def test_others_end_after_a_failure(meeting, log):
    store = MemoryStore()
    nodes = [fails_after_meeting(meeting).set_name("bad"), *[meets(meeting, n).set_name(f"n{n}") for n in range(2)]]
    made = flow(*nodes, added_later(nodes[0], 1).set_name("after"))
    made.set_storage(store)
    with pytest.raises(WorkflowFailed) as caught:
        made.run(on_error="continue")
    report = caught.value.report
    assert (list(report.failed), report.skipped) == (["bad"], {"after": "bad"})
    assert store.list_tasks("w") == ["n0", "n1"]


def test_others_run_before_a_further_attempt(meeting):
    tries = []

    @workflow
    async def fails_first():
        tries.append(1)
        if len(tries) == 1:
            raise ConnectionError
        await meetings[meeting].attend()

    made = flow(fails_first().set_name("n"), meets(meeting), meets(meeting))
    made.query("n").set_retry(1, delay=0.05)
    made.run()
    assert len(tries) == 2


def test_a_time_limit_leaves_the_others(meeting, log):
    made = flow(waits_around(log, 60).set_name("slow"), added_later(1, 1).set_name("other"))
    made.query("slow").set_timeout(0.05)
    with pytest.raises(WorkflowFailed) as caught:
        made.run(on_error="continue")
    assert type(caught.value.report.failed["slow"]) is NodeTimeoutError
    assert caught.value.report.finished == ["other"]
    assert noted_words(log) == ["begun", "left"]


def test_a_coroutine_that_catches_its_cancellation(monkeypatch):
    monkeypatch.setattr(coroutines, "CLEANUP", 0.05)
    caught = []

    @workflow
    async def stubborn():
        while len(caught) < 3:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                caught.append(1)
        return "ended"

    made = flow(stubborn().set_name("n"))
    made.query("n").set_timeout(0.05)
    with pytest.raises(NodeTimeoutError, match=r"took longer than 0\.05 s"):
        made.run()
    assert len(caught) == 3


@pytest.mark.parametrize("where", ["coroutine", "task"])
def test_an_interrupt_that_a_coroutine_raises(where):
    async def raises():
        raise KeyboardInterrupt("by a coroutine")

    @workflow
    async def interrupts():
        await (raises() if where == "coroutine" else asyncio.create_task(raises()))

    with pytest.raises(KeyboardInterrupt, match="by a coroutine"):
        flow(interrupts()).run()


# -- ending a run


@pytest.mark.parametrize("how", ["ctrl_c", "cancel"])
def test_coroutines_clean_up_when_a_run_is_stopped(how, log):
    made = flow(waits_around(log, 60), added_later(1, 1))

    def end():
        wait_until(lambda: noted_words(log))
        if how == "cancel":
            made.cancel()
        else:
            os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=end)
    thread.start()
    with pytest.raises(KeyboardInterrupt if how == "ctrl_c" else RunCancelled):
        made.run()
    thread.join()
    assert noted_words(log) == ["begun", "left"]


def test_coroutines_finish_when_that_is_asked_for(log):
    store = MemoryStore()
    made = flow(added_later(waits_around(log, 0.3).set_name("first"), 1).set_name("second"))
    made.set_storage(store)
    thread = threading.Thread(target=lambda: wait_until(lambda: noted_words(log)) and made.cancel())
    thread.start()
    with pytest.raises(RunCancelled):
        made.run(on_interrupt="finish")
    thread.join()
    assert noted_words(log) == ["begun", "ended", "left"]
    assert store.list_tasks("w") == ["first"]


def test_an_awaited_run_that_is_cancelled_cleans_up(log):
    async def cancelled():
        running = asyncio.create_task(flow(waits_around(log, 60)).run_async())
        await asyncio.to_thread(wait_until, lambda: noted_words(log))
        running.cancel()
        await asyncio.wait({running})

    asyncio.run(cancelled())
    assert noted_words(log) == ["begun", "left"]


def test_an_awaited_run_that_is_cancelled_before_it_begins():
    begun = []

    @workflow
    def begins():
        begun.append(1)
        while True:
            threading.Event().wait(0.01)

    async def cancelled():
        running = asyncio.create_task(flow(begins()).run_async())
        await asyncio.sleep(0)
        running.cancel()
        await asyncio.wait({running})
        return running.cancelled()

    assert asyncio.run(cancelled())
    assert not any(thread.name == "functionfuse-run" for thread in threading.enumerate())


# -- what is refused


@pytest.mark.parametrize("most", [0, -1, 1.5, "2"])
def test_a_wrong_number_of_coroutines(most):
    with pytest.raises(OptionError, match="max_concurrency must be a whole number of coroutines"):
        flow(same(1)).run(max_concurrency=most)


def test_coroutines_of_workers_are_not_counted():
    with pytest.raises(OptionError, match="max_concurrency is for coroutines in this process"):
        flow(same(1)).run(max_workers=1, max_concurrency=2)


def test_a_wrapper_runs_alone_to_its_end():
    @functools.wraps(added_later.__wrapped__)
    def wrapper(*args):
        return added_later.__wrapped__(*args)

    made = flow(workflow(wrapper)(1, 2).set_name("n"), added_later(1, 1))
    made.query("n").set_timeout(60)
    assert made.run() == [3, 2]
