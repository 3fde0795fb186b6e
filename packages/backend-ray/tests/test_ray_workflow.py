"""What is particular to Ray: tasks submitted early, references, options, stores, initialisation."""

from __future__ import annotations

import subprocess
import sys
import types
from functools import partial

import pytest
from ray_stores import Book, RemoteFuncsTests

from functionfuse import workflow
from functionfuse.backends.builtin.rayback import RayWorkflow
from functionfuse.errors import NodeError, OptionError
from functionfuse.storage import FileStore

make = partial(RayWorkflow, workflow_name="ray")


@workflow
def add(a, b):
    return a + b


@workflow
def countdown(n):
    return countdown(n - 1) if n else 0


@workflow
def entries_of(ledger, extra):
    return [*ledger.entries, extra]


class TestEarlySubmission:
    """Children are submitted before their parents are finished; some of those turn out to return nodes."""

    def test_children_of_a_function_that_returns_nodes(self, local_ray):
        late = countdown(3)
        chain = late
        for _ in range(5):
            chain = add(chain, add(late, 1))
        assert make(chain, late).run() == [5, 0]

    def test_calls_of_an_object_keep_their_order(self, local_ray):
        book = Book()
        book.write(add(countdown(2), 1))
        book.write(2)
        book.write(add(countdown(3), 3))
        assert make(book.write(4)).run() == [1, 2, 3, 4]

    def test_a_reader_sees_the_object_of_its_place(self, local_ray):
        book = Book()
        book.write(1)
        seen = entries_of(book, countdown(2))
        last = book.write(2)
        assert make(seen, last).run() == [[1, 0], [1, 2]]

    def test_a_failure_behind_a_call(self, local_ray):
        @workflow
        def fails():
            raise ValueError("no entry")

        book = Book()
        book.write(1)
        book.write(fails().set_name("fails"))
        with pytest.raises(NodeError, match="'fails' failed: ValueError: no entry"):
            make(book.write(3)).run()

    @pytest.mark.parametrize("most", [0, 1, 3, 1000])
    def test_few_or_many_at_a_time(self, local_ray, most):
        total = add(0, 0)
        for n in range(20):
            total = add(total, add(n, 0))
        assert make(total).run(max_pending_tasks=most) == sum(range(20))


class TestReferences:
    def test_arguments_by_position(self, local_ray):
        import ray

        assert make(add(1, 1)).run(True, 0) == 2
        assert ray.get(make(add(1, 1)).run(False)) == 2

    def test_results_may_stay_in_the_cluster(self, local_ray):
        import ray

        one, two = add(1, 0), add(1, 1)
        references = make(one, two).run(return_results=False)
        assert all(isinstance(reference, ray.ObjectRef) for reference in references)
        assert ray.get(references) == [1, 2]
        assert ray.get(make(two).run(return_results=False)) == 2

    def test_large_results_do_not_pass_through_the_driver(self, local_ray):
        np = pytest.importorskip("numpy")

        @workflow
        def large(n):
            return np.full(2_000_000, n)

        @workflow
        def total(*arrays):
            return float(sum(array.sum() for array in arrays))

        assert make(total(large(1), large(2))).run() == 6_000_000

    def test_a_run_in_the_background(self, local_ray):
        import ray

        running = make(add(add(1, 1), 1)).run_in_background()
        assert ray.get(running.result(60)) == 3
        with pytest.raises(NodeError, match="TypeError"):
            make(add(add(1, "1"), 1)).run_in_background(on_error="raise").result(60)


class TestOptions:
    def test_of_tasks(self, local_ray):
        @workflow
        def cpus():
            import ray

            return ray.get_runtime_context().get_assigned_resources().get("CPU")

        made = make(cpus().set_name("a"), cpus().set_name("b"))
        made.query("a|b").set_remote_args({"num_cpus": 2})
        made.query("b").set_remote_args({"num_cpus": 1})
        assert made.query("a").nodes[0].backend_info["remote_args"] == {"num_cpus": 2}
        assert made.run() == [2.0, 1.0]

    def test_resources_that_any_engine_understands(self, local_ray):
        @workflow
        def assigned():
            import ray

            return ray.get_runtime_context().get_assigned_resources()

        made = make(assigned().set_name("a"), assigned().set_name("b"))
        made.query(".").set_resources(cpus=2, memory="100 MB")
        made.query("b").set_remote_args({"num_cpus": 1})
        first, second = made.run()
        assert (first["CPU"], first["memory"], second["CPU"]) == (2.0, 100e6, 1.0)

    def test_names_are_those_of_the_nodes(self, local_ray):
        @workflow
        def name():
            import ray

            return ray.get_runtime_context().get_task_name()

        assert make(name().set_name("what I am called")).run() == "what I am called"

    @pytest.mark.parametrize("most", [-1, "many", None])
    def test_how_many_at_a_time_must_be_a_number(self, local_ray, most):
        with pytest.raises(OptionError, match="max_pending_tasks must be"):
            make(add(1, 1)).run(max_pending_tasks=most)


class TestStores:
    def test_durations_are_those_of_the_workers(self, local_ray, tmp_path):
        @workflow
        def waits():
            import time

            time.sleep(0.3)

        made = make(waits().set_name("waits"))
        made.set_storage(store := FileStore(tmp_path / "store"))
        made.run()
        assert 0.3 <= store.info("ray", "waits")["meta"]["seconds"] < 3

    def test_a_store_that_is_only_what_the_specification_asks_for(self, local_ray, tmp_path):
        made = make(add(add(1, 1).set_name("two"), 1).set_name("three"))
        made.set_storage(OnlyWriterFuncs(str(tmp_path)))
        assert made.run() == 3
        assert sorted(path.name for path in tmp_path.iterdir()) == ["three", "two"]
        assert made.plan(reuse="name").having("reuse") == ["two", "three"]
        assert made.run(reuse="name") == 3


class TestRemoteFuncs(RemoteFuncsTests):
    @pytest.fixture
    def make_workflow(self, local_ray):
        return partial(RayWorkflow, workflow_name="remote")


class OnlyWriterFuncs:
    """Written from the paragraph of the specification: ``get_writer_funcs`` and nothing else."""

    def __init__(self, folder):
        self.folder = folder

    def get_writer_funcs(self, workflow_name):
        return (lambda: None), Reader(self.folder), partial(save, self.folder)


class Reader:
    def __init__(self, folder):
        self.folder = folder

    def read_task(self, task_name):
        with open(f"{self.folder}/{task_name}") as file:  # noqa: PTH123
            return int(file.read())


def save(folder, task_name, obj):
    with open(f"{folder}/{task_name}", "w") as file:  # noqa: PTH123
        file.write(str(obj))


@pytest.mark.parametrize("kind", ["function", "class"])
def test_a_module_that_workers_do_not_have(local_ray, monkeypatch, kind):
    module = types.ModuleType("ff_driver_alone")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec("def add(x): return x\nclass Adder:\n    def add(self, x): return x\n", vars(module))
    node = workflow(module.add)(1) if kind == "function" else workflow(module.Adder)().add(1)
    with pytest.raises(NodeError, match=r"(?s)No module named 'ff_driver_alone'.*worker cannot import what it calls"):
        RayWorkflow(node, workflow_name="w").run()


@pytest.mark.slow(reason="several clusters, one after the other")
def test_what_a_workflow_started_it_stops_and_starts_again():
    pytest.importorskip("ray", reason="ray is not installed")
    code = (
        "import ray\n"
        "from functionfuse import workflow\n"
        "from functionfuse.backends.builtin.rayback import RayWorkflow\n"
        "@workflow\n"
        "def add(a, b):\n"
        "    return a + b\n"
        "options = {'address': 'local', 'num_cpus': 1, 'include_dashboard': False, '_node_ip_address': '127.0.0.1'}\n"
        "with RayWorkflow(add(1, add(1, 1)), workflow_name='w', ray_init_args=options) as made:\n"
        "    assert ray.is_initialized()\n"
        "    with RayWorkflow(add(1, 1), workflow_name='w') as other:\n"
        "        print(other.run())\n"
        "    print(made.run())\n"
        "    ray.shutdown()\n"
        "    print(made.run(), ray.cluster_resources()['CPU'])\n"
        "assert not ray.is_initialized()\n"
        "ray.init(**{**options, 'num_cpus': 2})  # by hand: what the workflow passed does not count any more\n"
        "from functionfuse.errors import OptionError\n"
        "try:\n"
        "    RayWorkflow(add(1, 1), workflow_name='w', ray_init_args=options)\n"
        "except OptionError as error:\n"
        "    print(str(error).partition(' would')[0])\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    refused = "ray_init_args: Ray is initialised already, so 'num_cpus'"
    assert ended.stdout == f"2\n3\n3 1.0\n{refused}\n", ended.stderr
