"""What scripts for the original Function Fuse rely on."""

from __future__ import annotations

import inspect

import pytest

from functionfuse.backends.base import BaseWorkflow
from functionfuse.backends.plugins import InitializerPlugin, PluginCollection, RandomStatePlugin
from functionfuse.backends.query import Query
from functionfuse.errors import NodeAttributeError, OptionError
from functionfuse.original import NAMES, takes_original_names
from functionfuse.testing import MemoryStore
from functionfuse.testing.functions import PlainResults, add, same


class Serial(BaseWorkflow):
    def execute(self, run):
        for task in run.in_order():
            run.perform_here(task)


@pytest.fixture
def flow():
    return Serial(add(same(1).set_name("one"), 2).set_name("three"), workflow_name="w")


@takes_original_names
def save(workflow_name, task_name, obj=None, *, recipe=None):
    """Describe it."""
    return workflow_name, task_name, obj, recipe


class TestNames:
    def test_todays_and_the_originals(self):
        assert save("w", "n", 1) == save("w", task_name="n", obj=1) == save("w", filename="n", obj=1)
        assert save(workflow_name="w", filename="n", recipe={}) == ("w", "n", None, {})

    def test_the_function_stays_what_it_was(self):
        assert (save.__name__, save.__doc__) == ("save", "Describe it.")
        assert list(inspect.signature(save).parameters) == ["workflow_name", "task_name", "obj", "recipe"]

    @pytest.mark.parametrize(
        ("kwargs", "message"),
        [
            ({"filename": "n", "task_name": "n"}, r"save\(\) got 'task_name' twice: also as 'filename'"),
            ({"file_name": "n"}, "unexpected keyword argument 'file_name'"),
            ({"query": "n"}, "unexpected keyword argument 'query'"),
            ({}, "missing 1 required positional argument: 'task_name'"),
        ],
    )
    def test_what_is_refused(self, kwargs, message):
        with pytest.raises(TypeError, match=message):
            save("w", **kwargs)

    def test_a_value_that_is_given_by_position_too(self):
        with pytest.raises(TypeError, match="multiple values for argument 'task_name'"):
            save("w", "n", filename="n")

    @pytest.mark.parametrize("method", ["set_storage", "log_nodes", "set_plugin", "replace_func"])
    def test_of_workflows(self, method):
        parameters = inspect.signature(getattr(BaseWorkflow, method)).parameters
        assert set(NAMES[method].values()) <= set(parameters)

    def test_in_use(self, flow):
        store = MemoryStore()
        flow.set_storage(object_storage=store)
        flow.log_nodes(query="one")
        flow.replace_func(flow.find_nodes("three")[0], new_func=max)
        assert flow.run() == 2
        assert store.list_tasks("w") == ["three"]


class EngineQuery(Query):
    def set_remote_args(self, remote_args):
        return self._set(engine={"remote_args": dict(remote_args)})


class OnEngine(Serial):
    query_class = EngineQuery
    supports = Serial.supports | {"engine"}


class TestFoundNodes:
    """What is set on them takes effect, or is refused."""

    @pytest.fixture
    def found(self):
        self.flow = OnEngine(add(same(1).set_name("a.c"), 2).set_name("abc"), workflow_name="w")
        return {node.get_name(): node for node in self.flow.find_nodes()}

    @pytest.mark.parametrize("of", ["find_nodes", "query"])
    def test_options(self, found, of):
        calls = []
        for node in getattr(self.flow, of)("a[.]c"):
            node.backend_info["plugin"] = InitializerPlugin(lambda: calls.append(1))
            node.backend_info.update(timeout=5, retry=2)
        assert self.flow.run() == 3
        assert calls == [1]
        assert sorted(found["a.c"].backend_info) == ["plugin", "retry", "timeout"]
        assert found["abc"].backend_info == {}  # its name is no pattern

    def test_options_of_the_engine(self, found):
        found["abc"].backend_info["remote_args"] = {"resources": {"_disk": 1}}
        assert found["abc"].backend_info == {"remote_args": {"resources": {"_disk": 1}}}
        assert self.flow.plan()["abc"].options.engine == {"remote_args": {"resources": {"_disk": 1}}}

    def test_what_a_query_refuses(self, found):
        with pytest.raises(OptionError, match="is not a plugin"):
            found["abc"].backend_info["plugin"] = print

    @pytest.mark.parametrize("option", ["print", "no_such_option", "version"])
    def test_an_option_that_no_query_has(self, found, option):
        with pytest.raises(
            OptionError, match=rf"option '{option}' cannot be set here, for node 'abc'.*set_remote_args"
        ):
            found["abc"].backend_info[option] = True

    def test_what_was_set_is_changed_by_setting_it(self, found):
        info = found["abc"].backend_info
        info["remote_args"] = {"resources": {"_disk": 1}}
        with pytest.raises(TypeError, match="does not support item assignment"):
            info["remote_args"]["num_cpus"] = 2
        with pytest.raises(TypeError, match="does not support item assignment"):
            info["remote_args"]["resources"]["_disk"] = 2
        with pytest.raises(OptionError, match="cannot be taken away"):
            del info["remote_args"]

    @pytest.mark.parametrize("name", ["func", "backend_info", "result"])
    def test_attributes(self, found, name):
        with pytest.raises(
            NodeAttributeError, match=rf"'{name}' cannot be set: workflow.replace_func\(node, function\)"
        ):
            setattr(found["abc"], name, max)


class Counting(RandomStatePlugin):
    """As a plugin of the original: the driver counts, and a worker gets the count of its node."""

    def local_initialize(self):
        self.seed += 1


class TestPlugins:
    @pytest.mark.parametrize("wrap", [lambda plugin: plugin, lambda plugin: PluginCollection([plugin])])
    def test_a_counter_counts(self, wrap):
        seeds = []
        plugin = Counting(min=0, max=2**32 - 1, seed=0, seed_func=seeds.append)
        flow = Serial(add(same(1), 2), workflow_name="w")
        flow.query().set_plugin(wrap(plugin))
        for count in (2, 4):
            assert flow.run() == 3
            assert plugin.seed == count
        assert seeds == [1, 2, 3, 4]
        assert plugin.node_name is None

    def test_a_counter_of_something_else(self):
        class Calls(RandomStatePlugin):
            calls = 0

            def local_initialize(self):
                super().local_initialize()
                self.calls += 1

        seeds = []
        plugin = Calls(min=0, max=2**32 - 1, seed=0, seed_func=seeds.append)
        flow = Serial(add(same(1).set_name("one"), 2).set_name("three"), workflow_name="w")
        flow.query().set_plugin(plugin)
        flow.run()
        assert plugin.calls == 2
        usual = RandomStatePlugin(min=0, max=2**32 - 1, seed=0, seed_func=print)
        assert seeds == [usual.for_node(name).node_seed() for name in ("one", "three")]

    def test_a_worker_gets_the_count(self):
        class Own(Counting):
            def remote_initialize(self):
                seed = self.seed
                return lambda: seeds.append(seed)

        seeds = []
        flow = Serial(add(same(1), 2), workflow_name="w")
        flow.query().set_plugin(Own(0, 10, 7, seed_func=print))
        flow.run()
        assert seeds == [8, 9]


class InvalidError(ValueError):
    """What a store raises of bytes that are not a result."""


class ExistingResults(PlainResults):
    """A store with more methods than the least."""

    invalid_exception = InvalidError

    def __init__(self, folder):
        super().__init__(folder)
        self.asked = []

    def file_exists(self, workflow_name, filename):
        self.asked.append(filename)
        return (self.folder / workflow_name / filename).exists()

    def read_task(self, workflow_name, task_name):
        if not (self.folder / workflow_name / task_name).read_bytes():
            raise InvalidError("nothing is in it")
        return super().read_task(workflow_name, task_name)


class TestPlainStores:
    def test_it_is_asked_what_exists(self, flow, tmp_path):
        store = ExistingResults(tmp_path)
        flow.set_storage(store)
        assert flow.plan(reuse="name").having("run") == ["one", "three"]
        assert store.asked == ["one", "three"]

    def test_a_damaged_result_is_made_again(self, flow, tmp_path):
        flow.set_storage(ExistingResults(tmp_path))
        flow.run()
        (tmp_path / "w" / "three").write_bytes(b"")
        with pytest.warns(UserWarning, match="'three' cannot be read and will be made again: .*nothing is in it"):
            assert flow.run(reuse="name") == 3
        assert flow.run(reuse="name") == 3

    def test_the_two_methods_are_enough(self, flow):
        class Dict:
            def __init__(self):
                self.results = {}

            def save(self, *name, obj=None):
                self.results[name[:2]] = name[2]

            def read_task(self, *name):
                return self.results[name]

        flow.set_storage(store := Dict())
        assert flow.run() == 3
        assert store.results == {("w", "one"): 1, ("w", "three"): 3}
        assert flow.run(reuse="name") == 3

    def test_stateful_objects(self, tmp_path):
        from functionfuse.testing.functions import IncrementalSum

        def make():
            total = IncrementalSum(same(1).set_name("start"))
            flow = Serial(total.add(2).set_name("sum"), workflow_name="w")
            flow.set_storage(PlainResults(tmp_path))
            return flow

        assert [make().run(reuse="name"), make().run(reuse="name")] == [3, 3]
        assert sorted(path.name for path in (tmp_path / "w").iterdir()) == ["start", "sum"]
