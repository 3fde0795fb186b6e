"""The options of Prefect's tasks and flows."""

from __future__ import annotations

import json
import sys
import threading
from datetime import timedelta
from functools import partial

import pytest
from prefect import get_run_logger
from prefect.cache_policies import INPUTS, TASK_SOURCE
from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext, TaskRunContext
from prefect.filesystems import LocalFileSystem
from prefect.runtime import task_run
from prefect.task_runners import ConcurrentTaskRunner, ProcessPoolTaskRunner, ThreadPoolTaskRunner
from prefect.tasks import task_input_hash
from prefect_graphs import Sum
from prefect_servers import states_of

from functionfuse import workflow
from functionfuse.backends.addons.prefectback import PrefectWorkflow
from functionfuse.backends.base import BaseWorkflow
from functionfuse.backends.plugins import InitializerPlugin
from functionfuse.errors import NodeError, OptionError
from functionfuse.testing import MemoryStore
from functionfuse.testing.functions import add, fails_until, note, noted, noted_words, same

make = partial(PrefectWorkflow, workflow_name="options")
FACTOR = 2


@workflow
def scaled(n):
    return n * FACTOR


class SerialWorkflow(BaseWorkflow):
    """Another engine."""

    def execute(self, run):
        for task in run.in_order():
            run.perform_here(task)


class TestTaskOptions:
    def test_they_merge(self, server):
        made = make(same(1).set_name("a"), same(2).set_name("b"))
        made.query().set_task_args({"retries": 1, "tags": ["x"]}).set_task_args({"retries": 2})
        made.query("b").set_task_args({"timeout_seconds": 60})
        shown = [node.backend_info["task_args"] for node in made.find_nodes()]
        assert shown == [
            {"retries": 2, "tags": ["x"]},
            {"retries": 2, "tags": ["x"], "timeout_seconds": 60},
        ]
        assert made.run() == [1, 2]

    @pytest.mark.parametrize(
        ("args", "message"),
        [
            ({"retrys": 3}, "'retrys'; did you mean 'retries'"),
            ({"wait_for": []}, "'wait_for'; known: .*cache_key_fn"),
            ({"fn": print}, "'fn'"),
            ({"retry_delay_seconds": "long"}, "retry_delay_seconds"),
            ({"on_failure": 5}, "on_failure"),
        ],
    )
    def test_what_prefect_does_not_know_is_refused_at_once(self, args, message):
        query = make(same(1).set_name("a")).query("a")
        with pytest.raises(OptionError, match=f"set_task_args: .*{message}"):
            query.set_task_args(args)
        assert query.nodes[0].backend_info == {}

    def test_retries(self, server, tmp_path):
        made = make(fails_until(str(tmp_path / "log"), 3).set_name("flaky"))
        made.query("flaky").set_task_args({"retries": 3, "retry_delay_seconds": [0.01, 0.02]})
        assert made.run() == 3

    def test_retries_of_a_method_start_from_the_state_before(self, server, tmp_path):
        log = str(tmp_path / "log")

        @workflow
        class Pile:
            def __init__(self):
                self.all = []

            def put(self):
                self.all.append(1)
                note(log, "put")
                if len(noted_words(log)) < 3:
                    raise ConnectionError("halfway")
                return self.all

        made = make(Pile().put().set_name("put"))
        made.query("put").set_task_args({"retries": 3})
        assert made.run() == [1]

    def test_tags_of_a_profile(self, server, tmp_path):
        """They are those of the task runs too, beside what is set for Prefect itself."""

        @workflow
        def tags():
            return sorted(TaskRunContext.get().task_run.tags)

        (tmp_path / "profile.toml").write_text("""
            [nodes.n]
            tags = ["large"]
            engine.prefect = { tags = ["own"] }
            [limits]
            large = 1
        """)
        made = PrefectWorkflow(tags().set_name("n"), workflow_name="tags of a profile")
        made.apply_profile(tmp_path / "profile.toml")
        assert made.run() == ["large", "own"]

    def test_tags_names_and_hooks(self, server):
        seen_by_hook = []

        @workflow
        def seen(x):
            return sorted(TaskRunContext.get().task_run.tags), task_run.name, task_run.parameters

        def hook(task, run, state):
            seen_by_hook.append((task.name, run.name, state.result()[1]))

        made = make(seen(5).set_name("{x}"))
        made.query().set_task_args({"tags": ["one", "two"], "on_completion": [hook]})
        assert made.run() == (["one", "two"], "{x}", {"x": 5})
        assert seen_by_hook == [("{x}", "{x}", "{x}")]
        made.query().set_task_args({"task_run_name": "run of {x}"})
        assert made.run()[1] == "run of 5"

    @pytest.mark.parametrize(
        "args",
        [
            {"cache_policy": INPUTS + TASK_SOURCE},
            {"cache_key_fn": task_input_hash, "cache_expiration": timedelta(hours=1)},
            {"cache_key_fn": lambda _, parameters: f"{parameters['word']}-{parameters['value']}"},
        ],
        ids=["inputs and source", "task_input_hash", "own key"],
    )
    def test_prefects_own_cache(self, server, tmp_path, args):
        log = str(tmp_path / "log")
        for value in (1, 2, 1):
            made = make(noted(log, "word", value, add(1, 1).set_name("two")).set_name("n"))
            made.query("n").set_task_args({**args, "persist_result": True})
            assert made.run() == value
        assert noted_words(log) == ["word", "word"]

    def test_a_storage_key_is_no_cache_key(self, server, tmp_path):
        """It has no room for the recipe: the node runs every time, and its result is kept there."""
        LocalFileSystem(basepath=str(tmp_path / "here")).save("with-keys", overwrite=True)
        for value in (1, 2):
            made = make(add(value, 1).set_name("n"))
            made.query("n").set_task_args(
                {"result_storage_key": "kept", "result_storage": "local-file-system/with-keys"}
            )
            assert made.run() == value + 1
        assert [path.name for path in (tmp_path / "here").iterdir()] == ["kept"]

    @pytest.mark.parametrize("has_store", [False, True])
    def test_prefects_cache_knows_helpers_and_constants(self, server, monkeypatch, has_store):
        """A hit is what the function returns now, and so is what is stored."""
        store = MemoryStore()

        def run(backend=PrefectWorkflow, **options):
            made = backend(scaled(21).set_name("n"), workflow_name="options")
            made.set_storage(store if has_store else None)
            if backend is PrefectWorkflow:
                made.query("n").set_task_args({"cache_policy": INPUTS + TASK_SOURCE})
            return made.run(**options)

        assert run() == 42
        monkeypatch.setattr(sys.modules[__name__], "FACTOR", 1000)
        assert [run(), run(reuse="never"), run(SerialWorkflow)] == [21000] * 3

    @pytest.mark.parametrize("asked", ["reuse", "cache", "log"])
    def test_what_always_runs_is_not_taken_from_prefects_cache(self, server, tmp_path, asked):
        log = str(tmp_path / "log")
        for _ in range(2):
            made = make(noted(log, asked).set_name("n"))
            made.query("n").set_task_args({"cache_key_fn": lambda *_: "key"})
            if asked == "cache":
                made.query("n").set_cache("never")
            if asked == "log":
                made.log_nodes("n")
            made.run(reuse="never" if asked == "reuse" else "recipe")
        assert noted_words(log) == [asked] * 2

    def test_a_policy_without_a_key_keeps_nothing(self, server, tmp_path):
        log = str(tmp_path / "log")
        for _ in range(2):
            made = make(noted(log, "word").set_name("n"))
            made.query("n").set_task_args({"cache_key_fn": lambda *_: None, "persist_result": True})
            made.run()
        assert noted_words(log) == ["word"] * 2

    def test_a_method_in_prefects_cache(self, server):
        for _ in range(2):
            total = Sum(1)
            made = make(total.add(2).set_name("a"), total.add(3).set_name("b"))
            made.query("a").set_task_args({"cache_policy": INPUTS + TASK_SOURCE})
            assert made.run() == [3, 6]

    def test_result_storage(self, server, tmp_path):
        LocalFileSystem(basepath=str(tmp_path)).save("here", overwrite=True)
        made = make(same({"a": 1}).set_name("n"))
        made.query("n").set_task_args({"result_storage": "local-file-system/here", "result_serializer": "json"})
        assert made.run() == {"a": 1}
        (kept,) = (path for path in tmp_path.iterdir() if path.is_file())
        assert json.loads(json.loads(kept.read_text())["result"]) == {"a": 1}

    def test_a_flow_that_keeps_results(self, server, tmp_path):
        made = make(noted(str(tmp_path / "log"), "word", [1]), noted(str(tmp_path / "log"), "word", [1]))
        made.set_prefect_flow_options({"persist_result": True})
        assert made.run() == [[1], [1]]
        assert noted_words(str(tmp_path / "log")) == ["word", "word"]
        run = next(iter(server.task_runs("options", lambda runs: len(runs) == 2).values()))
        with get_client(sync_client=True) as client:
            assert client.read_task_run(run["id"]).state.result() == [1]

    def test_a_time_limit_of_prefect(self, server):
        @workflow
        def spins():
            import time

            end = time.monotonic() + 2
            while time.monotonic() < end:
                time.sleep(0.01)

        made = make(spins().set_name("slow"))
        made.query("slow").set_task_args({"timeout_seconds": 0.1})
        with pytest.raises(NodeError, match=r"'slow' failed: .*0\.1 second"):
            made.run()

    def test_plugins_apply_in_the_task(self, server):
        names = []
        made = make(same(1).set_name("n"))
        made.query("n").set_plugin(InitializerPlugin(lambda: names.append(TaskRunContext.get().task_run.name)))
        made.run()
        assert names == ["n"]

    def test_the_logger_of_prefect(self, server):
        @workflow
        def logs():
            get_run_logger().info("seen by Prefect")
            return FlowRunContext.get().flow_run.name

        made = make(logs().set_name("n"))
        made.query().set_timeout(30)
        assert made.run() == server.flow_run("options")["name"]

    @pytest.mark.parametrize("name", ["wait_for", "return_state"])
    def test_parameters_that_prefect_takes_for_its_own(self, server, name):
        space = {}
        exec(f"def function({name}=1, *, b=2): return {name}, b", space)
        function = workflow(space["function"])
        assert make(function(add(1, 1)), function(**{name: 3}, b=4)).run() == [(2, 2), (3, 4)]


class TestFlowOptions:
    def test_they_reach_the_flow(self, server):
        ended = []
        made = make(same(1).set_name("n"))
        options = {"flow_run_name": "as it is called", "retries": 1, "description": "what it does"}
        made.set_prefect_flow_options({**options, "on_completion": [lambda flow, run, state: ended.append(run.name)]})
        made.set_prefect_flow_options({"task_runner": ConcurrentTaskRunner(max_workers=2)})
        assert made.run() == 1
        flow = made.generate_flow()
        assert (flow.name, flow.retries, flow.description) == ("options", 1, "what it does")
        assert isinstance(flow.task_runner, ThreadPoolTaskRunner)
        assert ended == ["as it is called"]
        assert server.flow_run("options")["name"] == "as it is called"

    @pytest.mark.parametrize(("options", "message"), [({"task_runer": 1}, "'task_runner'"), ({"name": 5}, "name")])
    def test_what_prefect_does_not_know_is_refused_at_once(self, options, message):
        with pytest.raises(OptionError, match=f"set_prefect_flow_options: .*{message}"):
            make(same(1)).set_prefect_flow_options(options)

    def test_a_workflow_keeps_the_flow(self):
        made = make(same(1).set_name("n"))
        assert made.flow is None
        first = made.generate_flow()
        assert made.flow is first
        made.set_prefect_flow_options(prefect_flow_options={"retries": 1})
        assert (made.generate_flow() is made.flow, made.flow.retries, first.retries) == (True, 1, 0)
        with pytest.raises(AttributeError):
            made.flow = first

    def test_a_flow_takes_the_parameters_of_run(self, server, tmp_path):
        made = make(noted(str(tmp_path / "log"), "word", 7).set_name("n"))
        assert made.generate_flow()(reuse="never", on_error="continue") == 7
        with pytest.raises(OptionError, match="known"):
            made.generate_flow()(on_error="ignore")


class TestBadInput:
    def test_what_cannot_be_pickled_for_a_process(self, server):
        made = make(same(threading.Lock()).set_name("taker"))
        made.set_prefect_flow_options({"task_runner": ProcessPoolTaskRunner(max_workers=1)})
        with pytest.raises(NodeError, match=r"(?s)'taker' cannot be sent.*argument 0 .*lock"):
            made.run()
        assert server.flow_run("options")["state_name"] == "Failed"

    def test_a_process_that_dies(self, server):
        @workflow
        def dies():
            import os

            os._exit(3)

        made = PrefectWorkflow(dies().set_name("victim"), workflow_name="dies")
        made.set_prefect_flow_options({"task_runner": ProcessPoolTaskRunner(max_workers=1)})
        with pytest.raises(NodeError, match="'victim' failed: a worker process died"):
            made.run()
        runs = server.task_runs("dies", lambda runs: set(states_of(runs).values()) <= {"Crashed"})
        assert set(states_of(runs).values()) <= {"Crashed"}  # the server may not know it at all
        assert server.flow_run("dies")["state_name"] == "Failed"
