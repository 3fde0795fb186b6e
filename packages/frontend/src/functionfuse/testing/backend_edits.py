"""The conformance suite of backends: what engineers change in a graph, on a copy."""

from __future__ import annotations

from typing import Any

import pytest

from functionfuse.errors import EditError
from functionfuse.testing.backend_suite import BackendSuite, StepLog, actions, requires
from functionfuse.testing.functions import IncrementalSum, noted, same, total
from functionfuse.testing.standard_tests import core


class EditTests(BackendSuite, suite=True):
    """``workflow.edit()`` returns another workflow; the scientist's graph and the workflow stay as they are."""

    @core
    def test_every_edit(self, make_workflow: Any) -> None:
        """Several edits of one graph, in one chain; the workflow that was edited gives what it gave."""
        data = same([1, 2, 3]).set_name("data")
        last = total([total(data).set_name("sum"), same(10).set_name("ten")]).set_name("last")
        workflow = make_workflow(last)
        edited = (
            workflow.edit()
            .insert_after("data", lambda values, more: [*values, more], 4, name="longer")
            .insert_before("sum", lambda values: [2 * value for value in values], name="{}-doubled")
            .replace("ten", lambda value: value + 1)
            .wrap("sum", lambda function, *args: 100 + function(*args))
            .map_over("ten", value=[20, 30])
            .insert_after("ten", max)
            .done()
        )
        assert edited.run() == 100 + 2 * (1 + 2 + 3 + 4) + 31
        assert sorted(edited.dag) == [
            *["data", "last", "longer", "sum", "sum-doubled", "ten", "ten-0", "ten-1", "ten-max"],
        ]
        assert [workflow.run(), list(workflow.dag)] == [16, ["data", "sum", "ten", "last"]]
        assert list(make_workflow(last).dag) == ["data", "sum", "ten", "last"]

    @requires("objects")
    def test_objects(self, make_workflow: Any) -> None:
        """Calls of a stateful object stay in their order, and are edited one by one."""
        counter: Any = IncrementalSum(1)
        counter.set_name("counter")
        first, second, third = counter.add(10).set_name("m1"), counter.add(100).set_name("m2"), counter.add(1000)
        workflow = make_workflow(first, second, third)
        edited = workflow.edit().insert_after("m1", lambda value: -value).insert_before("m2", abs, argument=0).done()
        assert edited.run() == [-11, 111, 1111]
        assert make_workflow(first, third).edit().remove("m2").done().run() == [11, 1011]
        with pytest.raises(EditError, match="'counter' is a stateful object"):
            workflow.edit().insert_after("counter", same)
        with pytest.raises(EditError, match="'counter' is a stateful object that 'm1' uses"):
            workflow.edit().remove("counter")

    @requires("store")
    def test_stored_results(self, make_workflow: Any, store: Any, log: StepLog) -> None:
        """An edited workflow reuses what its unchanged nodes stored, and runs the rest."""
        a = noted(log.path, "a", 1).set_name("a")
        b = noted(log.path, "b", 2, a).set_name("b")
        workflow = make_workflow(noted(log.path, "c", 3, b).set_name("c"))
        workflow.set_storage(store)
        assert workflow.run() == 3
        edited = workflow.edit().insert_after("b", same).done()
        assert actions(edited.plan()) == {"a": "reuse", "b": "reuse", "b-same": "run", "c": "run"}
        assert edited.run() == 3
        assert log.words() == ["a", "b", "c", "c"]
        wrapped = workflow.edit().wrap("b", lambda function, *args: function(*args)).done()
        assert actions(wrapped.plan()) == {"a": "reuse", "b": "run", "c": "check" if wrapped.early_cutoff else "run"}

    def test_options(self, make_workflow: Any) -> None:
        """They hold for the edited workflow too; what is set later holds for one of the two."""
        events: list[str] = []
        workflow = make_workflow(same(1).set_name("a"))
        workflow.log_nodes("a.*")
        workflow.add_observer(lambda event: events.append(event.name))
        edited = workflow.edit().insert_after("a", same).done()
        edited.add_observer(lambda event: events.append(f"{event.name} of the edited one"))
        edited.query("a")._set(version=5)
        assert workflow.find_nodes("a")[0].backend_info == {"log": True}
        assert [dict(view.backend_info) for view in edited.find_nodes()] == [
            {"log": True, "version": 5},
            {"log": True},
        ]
        workflow.run()
        assert events == ["a", "a"]
