"""The conformance suite of backends: plugins, queries, observers."""

from __future__ import annotations

import os
import random
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from functionfuse.backends.options import OPTION_NAMES
from functionfuse.backends.plugins import InitializerPlugin, Plugin, PluginCollection, RandomStatePlugin
from functionfuse.errors import NodeError, OptionError, PatternError
from functionfuse.testing.backend_suite import BackendSuite, StepLog, requires
from functionfuse.testing.functions import add, draw, fails, note, noted, same, seed_here
from functionfuse.testing.standard_tests import core

if TYPE_CHECKING:
    from collections.abc import Callable


class NotingPlugin(Plugin):
    """Notes where it is called."""

    def __init__(self, log: str) -> None:
        self.log = log

    def local_initialize(self) -> None:
        """Note the process of the driver."""
        note(self.log, f"driver={os.getpid()}")

    def remote_initialize(self) -> Callable[[], object]:
        """Return a function that notes."""
        return partial(note, self.log, "worker")


@requires("plugin")
class PluginTests(BackendSuite, suite=True):
    """What is called before a node."""

    @core
    def test_random_numbers(self, make_workflow: Any) -> None:
        """They depend on seed and node name, and on nothing else."""
        plugin = RandomStatePlugin(0, 2**32 - 1, 42, seed_here)
        names = ["first", *[f"draw {n}" for n in range(8)]]
        first = draw().set_name("first")
        nodes = [first, *[draw(first).set_name(name) for name in names[1:]]]
        seeds = [plugin.for_node(name).node_seed() for name in names]
        expected = [random.Random(seed).random() for seed in seeds]  # noqa: S311
        workflow = make_workflow(*reversed(nodes))
        workflow.query().set_plugin(plugin)
        assert workflow.run() == expected[::-1]
        assert len(set(expected)) == len(nodes)

    @core
    def test_order(self, make_workflow: Any, log: StepLog) -> None:
        """In the driver first, then in the worker, each plugin in its turn, then the node."""
        workflow = make_workflow(noted(log.path, "node").set_name("n"))
        initializer = InitializerPlugin(partial(note, log.path, "initializer"))
        workflow.query("n").set_plugins([NotingPlugin(log.path), initializer])
        workflow.run()
        assert log.words() == [f"driver={os.getpid()}", "worker", "initializer", "node"]

    def test_only_where_it_is_set(self, make_workflow: Any, log: StepLog) -> None:
        """On the nodes that a pattern names, in the workflow that it was set in."""
        nodes = [same(1).set_name("one"), same(2).set_name("two")]
        workflow, other = make_workflow(*nodes), make_workflow(*nodes)
        workflow.set_plugin("one", InitializerPlugin(partial(note, log.path, "initializer")))
        assert [workflow.run(), other.run()] == [[1, 2], [1, 2]]
        assert log.words() == ["initializer"]

    def test_a_later_plugin_replaces(self, make_workflow: Any, log: StepLog) -> None:
        """A collection is what applies several."""
        plugins = [InitializerPlugin(partial(note, log.path, word)) for word in ("a", "b", "c")]
        workflow = make_workflow(same(1))
        workflow.query().set_plugin(plugins[0]).set_plugin(PluginCollection(plugins[1:]))
        workflow.run()
        assert log.words() == ["b", "c"]

    def test_a_plugin_that_fails(self, make_workflow: Any) -> None:
        """Its node fails."""

        def broken() -> None:
            raise RuntimeError("no generator here")

        workflow = make_workflow(same(1).set_name("n"))
        workflow.query("n").set_plugin(InitializerPlugin(broken))
        with pytest.raises(NodeError, match=r"'n' failed: RuntimeError: no generator here"):
            workflow.run()

    def test_what_is_no_plugin(self, make_workflow: Any) -> None:
        """A function becomes one with InitializerPlugin."""
        with pytest.raises(OptionError, match="InitializerPlugin"):
            make_workflow(same(1)).query().set_plugin(print)


class QueryTests(BackendSuite, suite=True):
    """Options are set by name, on the workflow and never on nodes."""

    def test_names_match_as_a_whole(self, make_workflow: Any) -> None:
        """``re.fullmatch``; without a pattern, all."""
        names = ["model", "model_2", "my model", "data\nmodel"]
        workflow = make_workflow(*[same(n).set_name(name) for n, name in enumerate(names)])
        found = {
            pattern: [view.get_name() for view in workflow.query(pattern)]
            for pattern in ("model", "^model$", "model.*", ".*model", None)
        }
        assert found == {
            "model": ["model"],
            "^model$": ["model"],
            "model.*": ["model", "model_2"],
            ".*model": ["model", "my model"],
            None: names,
        }
        assert [view.get_name() for view in workflow.find_nodes("my .*")] == ["my model"]

    def test_no_match_warns(self, make_workflow: Any) -> None:
        """With close names."""
        workflow = make_workflow(same(1).set_name("classifier"))
        with pytest.warns(UserWarning, match=r"'clasifier' as a whole; close names: 'classifier'"):
            workflow.query("clasifier")

    def test_what_is_no_pattern(self, make_workflow: Any) -> None:
        """The error names it."""
        with pytest.raises(PatternError, match=r"'\(model' is not a regular expression"):
            make_workflow(same(1)).query("(model")

    @requires("retry")
    @requires("timeout")
    def test_options_merge(self, make_workflow: Any) -> None:
        """Later calls win, and add; views show the present state; nodes know nothing of it."""
        nodes = [same(1).set_name("a"), same(2).set_name("b")]
        workflow, other = make_workflow(*nodes), make_workflow(*nodes)
        views = workflow.find_nodes()
        workflow.query().set_timeout(5).set_retry(1)
        workflow.query("b").set_timeout(7)
        assert [view.backend_info["timeout"] for view in views] == [5.0, 7.0]
        assert [view.backend_info["retry"].times for view in views] == [1, 1]
        assert [dict(view.backend_info) for view in other.find_nodes()] == [{}, {}]

    def test_an_option_that_is_not_supported(self, make_workflow: Any) -> None:
        """Blocks the step in the plan: an option is honoured, or refused, and never ignored."""
        supported = make_workflow(same(1)).supports
        assert supported <= OPTION_NAMES
        for option in sorted(OPTION_NAMES - supported - {"resources"}):
            workflow = make_workflow(same(1).set_name("n"))
            workflow.query()._set(**{option: {"some": "value"}})
            [step] = workflow.plan()
            assert (step.action, repr(option) in step.reason) == ("blocked", True)

    @pytest.mark.parametrize(
        "set_wrongly",
        [
            lambda query: query.set_retry(-1),
            lambda query: query.set_retry(1, delay=-1),
            lambda query: query.set_retry(1, exceptions=5),
            lambda query: query.set_timeout(0),
            lambda query: query.set_timeout("1 min"),
            lambda query: query.set_cache("always"),
            lambda query: query.set_cache(ignore="x"),
        ],
    )
    def test_wrong_options(self, make_workflow: Any, set_wrongly: Any) -> None:
        """Refused at once."""
        with pytest.raises(OptionError):
            set_wrongly(make_workflow(same(1)).query())


class ObserverTests(BackendSuite, suite=True):
    """Events: what becomes of each step."""

    @core
    def test_a_chain(self, make_workflow: Any) -> None:
        """Started, then finished, one node after the other."""
        events: list[Any] = []
        workflow = make_workflow(add(add(1, 1).set_name("a"), 1).set_name("b"), workflow_name="observed")
        workflow.add_observer(events.append)
        workflow.run()
        assert [(event.kind, event.name) for event in events] == [
            ("started", "a"),
            ("finished", "a"),
            ("started", "b"),
            ("finished", "b"),
        ]
        assert {event.workflow_name for event in events} == {"observed"}
        assert [type(event.seconds) for event in events] == [type(None), float, type(None), float]
        assert [event.time for event in events] == sorted(event.time for event in events)

    def test_a_failure(self, make_workflow: Any) -> None:
        """It comes with the error that the run raises."""
        events: list[Any] = []
        workflow = make_workflow(fails("no").set_name("bad"))
        workflow.add_observer(events.append)
        with pytest.raises(NodeError) as caught:
            workflow.run()
        assert [(event.kind, event.name) for event in events] == [("started", "bad"), ("failed", "bad")]
        assert events[-1].error is caught.value
        assert isinstance(events[-1].seconds, float)

    @requires("store")
    def test_a_reuse(self, make_workflow: Any, store: Any) -> None:
        """Reused steps do not start."""
        events: list[tuple[str, str]] = []
        workflow = make_workflow(same(1).set_name("a"))
        workflow.set_storage(store)
        workflow.run()
        workflow.add_observer(lambda event: events.append((event.kind, event.name)))
        workflow.run()
        assert events == [("reused", "a")]

    def test_an_observer_that_fails(self, make_workflow: Any) -> None:
        """It is warned of and left out; the run goes on."""
        events: list[str] = []

        def broken(event: Any) -> None:
            raise RuntimeError(f"cannot show {event.name}")

        workflow = make_workflow(same(1).set_name("a"))
        workflow.add_observer(broken)
        workflow.add_observer(lambda event: events.append(event.kind))
        with pytest.warns(UserWarning, match="cannot show a") as warned:
            assert workflow.run() == 1
        assert len(warned) == 1
        assert events == ["started", "finished"]
