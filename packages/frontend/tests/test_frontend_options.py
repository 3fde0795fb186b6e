"""Plugins, queries, retries and observers, without an engine."""

from __future__ import annotations

import pickle
import random
import re
import statistics
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functionfuse.backends.base import BaseWorkflow
from functionfuse.backends.calls import Call
from functionfuse.backends.options import Retry
from functionfuse.backends.performing import perform
from functionfuse.backends.plugins import InitializerPlugin, Plugin, PluginCollection, RandomStatePlugin, initializer
from functionfuse.backends.rule_index import RuleIndex, prefix_of
from functionfuse.errors import NodeError, OptionError
from functionfuse.sizes import bytes_of
from functionfuse.testing.functions import draw, fails, fails_until, same, seed_here


class Serial(BaseWorkflow):
    def execute(self, run, **engine):
        for task in run.in_order():
            run.perform_here(task)


# Plugins


def seed_of(name, minimum=0, maximum=2**32 - 1, seed=42):
    return RandomStatePlugin(minimum, maximum, seed, random.seed).for_node(name).node_seed()


def test_seeds_are_those_of_every_release():
    assert [seed_of(name) for name in ("model", "zażółć")] == [4246936363, 3065351881]


def test_seeds_depend_on_seed_and_name():
    assert len({seed_of("a"), seed_of("b"), seed_of("a", seed=1), seed_of("b", seed=1)}) == 4
    assert seed_of("a") == seed_of("a")


def test_seeds_stay_between_their_limits_and_reach_them():
    assert {seed_of(str(n), 3, 6) for n in range(200)} == {3, 4, 5, 6}
    assert seed_of("a", 5, 5) == 5


def test_seeds_are_spread():
    mean = statistics.mean(seed_of(str(n), 0, 1000) for n in range(2000))
    assert 450 < mean < 550


def test_no_seed_between_crossed_limits():
    with pytest.raises(OptionError, match="min=2 and max=1"):
        RandomStatePlugin(2, 1, 0, random.seed)


def test_a_plugin_is_not_changed_by_its_nodes():
    plugin = RandomStatePlugin(0, 10, 0, random.seed)
    plugin.for_node("a")
    assert plugin.node_name is None


def test_what_a_worker_calls_can_be_pickled():
    collection = PluginCollection([RandomStatePlugin(0, 10**9, 0, seed_here), InitializerPlugin(random.random)])
    initialize = initializer(collection, "n")
    drawn = []
    for seeds in (initialize, pickle.loads(pickle.dumps(initialize))):
        seeds()
        drawn.append(draw.__wrapped__())
    assert drawn[0] == drawn[1]


def test_a_collection_in_a_collection():
    calls = []
    inner = PluginCollection([InitializerPlugin(partial(calls.append, 2)), InitializerPlugin(partial(calls.append, 3))])
    initializer(PluginCollection([InitializerPlugin(partial(calls.append, 1)), inner]), "n")()
    assert calls == [1, 2, 3]


def test_a_plugin_of_ones_own():
    class Own:
        def local_initialize(self):
            calls.append("local")

        def remote_initialize(self):
            return lambda: calls.append("remote")

    calls = []
    flow = Serial(same(1), workflow_name="w")
    flow.query().set_plugin(Own())
    assert flow.run() == 1
    assert calls == ["local", "remote"]


def test_the_base_plugin_does_nothing():
    flow = Serial(same(1), workflow_name="w")
    flow.query().set_plugin(Plugin())
    assert flow.run() == 1


def test_a_plugin_runs_in_the_thread_of_a_timed_call():
    import threading

    local = threading.local()

    def prepare():
        local.value = 5

    def limited():
        call = Call(same.__wrapped__ and _Target(lambda: local.value), (), {}, initialize=prepare, timeout=30.0)
        outcomes.append(perform(call))

    outcomes = []
    thread = threading.Thread(target=limited)
    thread.start()
    thread.join()
    assert (outcomes[0].value, outcomes[0].error) == (5, None)


class _Target:
    kind = "function"
    is_async = False
    qualname = "target"

    def __init__(self, function):
        self.function = function


# Queries


@pytest.fixture
def flow():
    return Serial(same(1).set_name("model"), same(2).set_name("data"), workflow_name="w")


def test_a_query_is_a_collection_of_nodes(flow):
    query = flow.query("m.*")
    assert (len(query), [view.get_name() for view in query]) == (1, ["model"])
    assert repr(query) == "<query 'm.*': 1 nodes>"
    assert repr(next(iter(query))) == "<node 'model'>"


def test_setting_returns_the_query(flow):
    query = flow.query("model")
    assert query.set_retry(1).set_timeout(2).set_cache(version=1).set_resources(cpus=1).set_plugin(Plugin()) is query


def test_no_match_and_nothing_close(flow):
    with pytest.warns(UserWarning, match="'zzzzzz' as a whole$"):
        flow.find_nodes("zzzzzz")


def test_the_warning_points_at_the_users_line(flow):
    for ask in (flow.query, flow.find_nodes, flow.log_nodes, lambda pattern: flow.set_plugin(pattern, Plugin())):
        with pytest.warns(UserWarning, match="modle") as warned:
            ask("modle")
        assert warned[0].filename == __file__


def test_an_empty_option_sets_nothing(flow):
    flow.query("model").set_cache()
    assert dict(flow.find_nodes("model")[0].backend_info) == {}


# Retries


def test_delays_grow(monkeypatch, tmp_path):
    slept = []
    monkeypatch.setattr("time.sleep", slept.append)
    flow = Serial(fails_until(str(tmp_path / "log"), 4), workflow_name="w")
    flow.query().set_retry(3, delay=2, backoff=3)
    assert flow.run() == 4
    assert slept == [2, 6, 18]


def test_a_retry_with_one_exception_class():
    assert Retry.checked(1, exceptions=KeyError).exceptions == (KeyError,)


@pytest.mark.parametrize("times", [-1, 1.5, "2", None])
def test_a_wrong_number_of_retries(times):
    with pytest.raises(OptionError, match="whole number of further attempts"):
        Retry.checked(times)


def test_an_object_that_cannot_be_copied_is_tried_once_with_the_last_attempt():
    import threading

    from functionfuse import workflow

    @workflow
    class Locked:
        def __init__(self):
            self.lock = threading.Lock()

        def ask(self):
            return 1

    flow = Serial(Locked().ask().set_name("n"), workflow_name="w")
    flow.query("n").set_retry(1)
    assert flow.run() == 1


# Observers


def test_a_failing_observer_is_left_out_of_this_run_only():
    heard = []

    def broken(event):
        heard.append(event.kind)
        raise RuntimeError("no screen")

    flow = Serial(same(1), workflow_name="w")
    flow.add_observer(broken)
    for _ in range(2):
        with pytest.warns(UserWarning, match="no screen"):
            flow.run()
    assert heard == ["started", "started"]


def test_what_is_no_observer():
    with pytest.raises(OptionError, match="an observer is called with each event"):
        Serial(same(1), workflow_name="w").add_observer([])


def test_an_interrupt_in_a_function_is_no_failure():
    from functionfuse import workflow

    @workflow
    def interrupted():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Serial(interrupted(), workflow_name="w").run(on_error="continue")


def test_arguments_are_shown_by_shape():
    np = pytest.importorskip("numpy", reason="numpy is not installed")

    bad = fails("no", np.zeros((3, 4)), list(range(100)), "x" * 1000)
    with pytest.raises(
        NodeError, match=r"ndarray\(shape=\(3, 4\), dtype=float64\), list of 100 items, str of 1000: 'xxx.*\.\.\.\)"
    ):
        Serial(bad, workflow_name="w").run()


@pytest.mark.parametrize(
    ("amount", "number"),
    [
        (0, 0),
        (7, 7),
        ("7", 7),
        ("1kB", 1000),
        ("1.5 KiB", 1536),
        ("4 GiB", 4 << 30),
        ("500 mb", 500_000_000),
        ("2Ti", 2 << 40),
    ],
)
def test_amounts_of_memory(amount, number):
    assert bytes_of(amount) == number


@pytest.mark.parametrize("amount", [-1, True, 1.5, "much", "4 XB", "-4 GB", ""])
def test_what_is_no_amount_of_memory(amount):
    with pytest.raises(OptionError, match="memory is a number of bytes, or text like '4 GiB'"):
        bytes_of(amount)


# Rules


@pytest.mark.parametrize(
    ("pattern", "prefix"),
    [("train_.*", "train_"), ("train", "train"), (".*", ""), ("ab*c", "a"), ("a|b", ""), ("(?i)a", ""), (r"a\.b", "a")],
)
def test_what_names_begin_with(pattern, prefix):
    assert prefix_of(re.compile(pattern)) == prefix


@given(
    patterns=st.lists(st.from_regex(r"\A[ab/]{0,3}(\.\*|[ab]\?|a\+|[ab]\*|\(a\|b\)|a\|b)?[ab]{0,2}\Z"), max_size=8),
    name=st.from_regex(r"\A[ab/\n]{0,6}\Z"),
)
def test_an_index_finds_what_each_pattern_finds(patterns, name):
    compiled = [re.compile(pattern) for pattern in patterns]
    expected = tuple(number for number, pattern in enumerate(compiled) if pattern.fullmatch(name))
    assert RuleIndex(compiled).matching(name) == expected
