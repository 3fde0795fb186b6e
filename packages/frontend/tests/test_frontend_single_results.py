"""What a workflow tells of single nodes without a run: results by name, and states."""

from __future__ import annotations

import pytest

from functionfuse import workflow
from functionfuse.backends.base import BaseWorkflow
from functionfuse.errors import NodeError, OptionError, TaskNotFound, UnknownNodeError, UsageError
from functionfuse.testing import MemoryStore
from functionfuse.testing.functions import IncrementalSum, add, fails, same


class InOrder(BaseWorkflow):
    """Runs in this process."""

    def execute(self, run):
        for task in run.in_order():
            run.perform_here(task)


@workflow
def scaled(data, rate):
    return [rate * value for value in data]


@pytest.fixture
def make():
    store = MemoryStore()

    def make(rate=2, size=2):
        data = same(list(range(size))).set_name("data")
        model = scaled(data, rate).set_name("model")
        made = InOrder(model, workflow_name="w")
        made.set_storage(store)
        return made

    return make


class TestOneResult:
    def test_by_name_by_node_and_of_an_item(self, make):
        node = scaled(same([1, 2]), 2).set_name("model")
        made = InOrder(node, workflow_name="w")
        made.set_storage(MemoryStore())
        made.run()
        assert [made.result("model"), made.result(node), made.result(node[1]), made.result("same_0000")] == [
            [2, 4], [2, 4], 4, [1, 2],
        ]  # fmt: skip

    def test_what_changed_is_said(self, make):
        make().run()
        with pytest.warns(UserWarning, match="the stored result of 'model' is not what a run would give now") as caught:
            assert make(rate=3).result("model") == [0, 2]
        assert str(caught[0].message).endswith("now: argument rate: 2 -> 3")
        assert caught[0].filename == __file__
        with pytest.warns(
            UserWarning, match="'model' may not be what a run would give now: 'data' will run; reused if"
        ):
            make(size=3).result("model")

    def test_a_result_that_another_run_made_under_another_recipe(self, make):
        make().run()
        make(rate=3).run()
        assert [make().result("model"), make(rate=3).result("model")] == [[0, 2], [0, 3]]

    def test_one_that_is_not_stored(self, make):
        with pytest.raises(TaskNotFound, match=r"no result of 'model' is stored \(no result yet\): run\(\) makes it"):
            make().result("model")

    def test_an_unknown_name(self, make):
        with pytest.raises(UnknownNodeError, match="no node is named 'modell' in workflow 'w'; did you mean 'model'"):
            make().result("modell")
        with pytest.raises(UnknownNodeError, match="is not in this graph"):
            make().result(same(1))

    def test_without_a_store(self):
        with pytest.raises(OptionError, match=r"set_storage\(\.\.\.\) before a run"):
            InOrder(same(1).set_name("a"), workflow_name="w").result("a")

    def test_a_stateful_object_has_none(self):
        made = IncrementalSum(start=1).set_name("sum")
        flow = InOrder(made.add(2).set_name("three"), workflow_name="w")
        flow.set_storage(MemoryStore())
        flow.run()
        assert flow.result("three") == 3
        with pytest.raises(UsageError, match=r"'sum' is a stateful object and has no result; .* have: 'three'"):
            flow.result("sum")

    def test_nothing_runs(self):
        flow = InOrder(add(fails("it ran").set_name("a"), 1).set_name("b"), workflow_name="w")
        flow.set_storage(MemoryStore())
        for name in ("a", "b"):
            with pytest.raises(TaskNotFound):
                flow.result(name)


class TestStates:
    def states(self, flow):
        return {name: known.state for name, known in flow.states().items()}

    def test_with_a_store(self, make):
        flow = make()
        assert self.states(flow) == {"data": "to run", "model": "to run"}
        flow.run()
        assert self.states(flow) == {"data": "stored", "model": "stored"}
        changed = make(rate=3).states()
        assert {name: known.text for name, known in changed.items()} == {
            "data": "stored (with the same recipe)",
            "model": "to run (argument rate: 2 -> 3)",
        }

    def test_without_a_store(self):
        flow = InOrder(add(same(1).set_name("a"), 1).set_name("b"), workflow_name="w")
        assert self.states(flow) == {"a": "to run", "b": "to run"}
        flow.run()
        assert self.states(flow) == {"a": "finished", "b": "finished"}

    def test_after_a_failure(self):
        wrong = fails("no luck").set_name("wrong")
        flow = InOrder(add(wrong, 1).set_name("after"), same(1).set_name("beside"), workflow_name="w")
        with pytest.raises(NodeError):
            flow.run()
        assert self.states(flow)["wrong"] == "failed"
        assert "no luck" in flow.states()["wrong"].reason
        with pytest.raises(Exception, match="some nodes failed"):
            flow.run(on_error="continue")
        assert self.states(flow) == {"wrong": "failed", "after": "skipped", "beside": "finished"}

    def test_a_node_the_backend_cannot_run(self):
        flow = InOrder(same(1).set_name("a"), workflow_name="w")
        flow.query("a").set_resources(gpus=1)
        assert self.states(flow) == {"a": "blocked"}

    def test_the_table(self, make):
        flow = make()
        html = flow._repr_mimebundle_()["text/html"]
        assert "workflow &#x27;w&#x27; on InOrder: 2 to run" in html
