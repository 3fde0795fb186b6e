"""Options of Ray's tasks and actors, and arguments of its initialisation."""

from __future__ import annotations

import os
import re
from functools import partial

import pytest
import ray
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from functionfuse import workflow
from functionfuse.backends.builtin._ray.options import options_of_tasks
from functionfuse.backends.builtin.rayback import RayWorkflow
from functionfuse.backends.options import StepOptions
from functionfuse.backends.secrets import Secret
from functionfuse.errors import NodeError, OptionError

make = partial(RayWorkflow, workflow_name="options")


@workflow
def attempt(path, fails):
    with open(path, "a") as file:  # noqa: PTH123
        file.write("x")
    if open(path).read() in fails:  # noqa: PTH123, SIM115
        raise ValueError("not yet")
    return 1


@workflow
def variable(name):
    import os

    return os.environ.get(name)


@workflow
def countdown(n):
    return countdown(n - 1) if n else 0


@workflow
class Holder:
    pass


def every_option():
    return {
        "num_cpus": 1,
        "num_gpus": 0,
        "memory": 1_000_000,
        "resources": {},
        "max_calls": 5,
        "max_retries": 1,
        "retry_exceptions": [OSError],
        "runtime_env": {"env_vars": {"ANSWER": "42"}},
        "scheduling_strategy": "SPREAD",
        "enable_task_events": True,
        "label_selector": {},
        "fallback_strategy": [],
        "accelerator_type": None,
        "max_restarts": 1,
        "max_task_retries": 1,
        "max_pending_calls": -1,
        "lifetime": None,
        "namespace": None,
    }


@workflow
class Assigned:
    def resources(self):
        return ray.get_runtime_context().get_assigned_resources(), os.environ.get("FUNCTIONFUSE_MODE")


def test_a_profile(local_ray, tmp_path):
    """Needs are options of `ray.remote`; what is set for Ray itself is laid over them."""
    (tmp_path / "profile.toml").write_text("""
        [nodes."(object|task)"]
        cpus = 1
        memory = "100 MB"
        environment = { FUNCTIONFUSE_MODE = "fast" }
        [nodes.task]
        engine.ray = { num_cpus = 2, runtime_env = { env_vars = { LEVEL = "3" } } }
    """)

    @workflow
    def task():
        return (
            ray.get_runtime_context().get_assigned_resources(),
            os.environ.get("FUNCTIONFUSE_MODE"),
            os.environ["LEVEL"],
        )

    made = make(Assigned().set_name("object").resources().set_name("call"), task().set_name("task"))
    made.apply_profile(tmp_path / "profile.toml")
    assert made.run() == [
        ({"CPU": 1.0, "memory": 1e8}, "fast"),
        ({"CPU": 2.0, "memory": 1e8}, "fast", "3"),
    ]


def test_needs_as_options_of_ray():
    given = {
        "resources": {"cpus": 2, "accelerator": "T4", "custom": {"licence": 1}},
        "packages": ("numpy",),
        "environment": {"A": "a", "TOKEN": Secret("env", "TOKEN")},
        "engine": {"remote_args": {"resources": {"_disk": 0.1}, "runtime_env": {"env_vars": {"B": "b"}}}},
    }
    assert options_of_tasks(StepOptions(**given)) == {
        "num_cpus": 2,
        "accelerator_type": "T4",
        "resources": {"licence": 1, "_disk": 0.1},
        "runtime_env": {"pip": ["numpy"], "env_vars": {"A": "a", "B": "b"}},
    }


def test_a_resource_that_nobody_has(local_ray):
    made = make(attempt("nowhere", ()).set_name("a"))
    made.query("a").set_resources(custom={"licence": 1})
    with pytest.raises(NodeError, match=r"'a' cannot run: no machine of the cluster offers \{.*'licence': 1"):
        made.run()


def test_every_option_of_tasks_and_actors_is_taken(local_ray):
    made = make(variable("ANSWER"))
    made.query().set_remote_args(every_option())
    assert made.run() == "42"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"num_cpu": 1}, "Invalid option keyword num_cpu"),
        ({"num_cpus": -1}, "num_cpus cannot be negative"),
        ({"max_restarts": "often"}, "max_restarts"),
        ({"num_returns": 2}, "'num_returns' cannot be set: a node has one result"),
        ({"name": "x"}, "'name' cannot be set: tasks and actors have the names of their nodes"),
        ({"max_concurrency": 2}, "one after the other"),
        ({"max_pending_calls": 2}, "run(max_pending_tasks=...) limits them"),
        ({"lifetime": "detached"}, "an object ends with its run"),
    ],
)
def test_what_ray_does_not_know_is_refused_at_once(local_ray, options, says):
    with pytest.raises(OptionError, match=re.escape(says)):
        make(variable("A")).query().set_remote_args(options)


class TestRetries:
    """Ray's own retries see the user's exceptions."""

    @pytest.mark.parametrize("wanted", [True, [ValueError], [OSError, ValueError]])
    def test_of_exceptions(self, local_ray, tmp_path, wanted):
        made = make(attempt(str(tmp_path / "log"), ["x", "xx"]))
        made.query().set_remote_args({"retry_exceptions": wanted, "max_retries": 2})
        assert made.run() == 1

    @pytest.mark.parametrize("wanted", [False, [OSError]])
    def test_not_of_others(self, local_ray, tmp_path, wanted):
        made = make(attempt(str(tmp_path / "log"), ["x"]))
        made.query().set_remote_args({"retry_exceptions": wanted})
        with pytest.raises(NodeError, match="ValueError: not yet"):
            made.run()
        assert (tmp_path / "log").read_text() == "x"

    def test_a_task_that_returns_nodes_is_no_failure(self, local_ray):
        made = make(countdown(5))
        made.query(".*").set_remote_args({"retry_exceptions": True})
        assert made.run() == 0


class TestWhatNothingOffers:
    """Ray would wait for it for ever."""

    @pytest.mark.parametrize(
        ("options", "says"),
        [
            ({"accelerator_type": "A100"}, r"no machine of the cluster offers \{'accelerator_type:A100'"),
            ({"label_selector": {"zone": "a"}}, r".* offers labels \{'zone': 'a'\}.*their labels ray.io/node-id="),
            ({"label_selector": {"ray.io/node-id": "!in(x, y)", "zone": "in(a, b)"}}, ".* offers labels"),
            ({"resources": {"laser": 1}, "label_selector": {"zone": "!a"}}, r".* offers \{'laser': 1\} and labels"),
        ],
    )
    def test_options_of_tasks_and_actors(self, local_ray, options, says):
        for node in (countdown(0), Holder()):
            made = make(node.set_name("n"))
            made.query().set_remote_args(options)
            with pytest.raises(NodeError, match=f"node 'n' cannot run: {says}"):
                made.run()

    def test_labels_that_a_machine_has(self, local_ray):
        made = make(countdown(0))
        made.query().set_remote_args({"label_selector": {"ray.io/node-id": "!x", "zone": "!in(a, b)"}})
        assert made.run() == 0

    def test_a_placement_group_that_was_removed(self, local_ray):
        group = placement_group([{"CPU": 1}])
        ray.get(group.ready())
        made = make(countdown(0).set_name("n"))
        made.query().set_remote_args({"scheduling_strategy": PlacementGroupSchedulingStrategy(group)})
        assert made.run() == 0
        remove_placement_group(group)
        with pytest.raises(NodeError, match=f"'n' cannot run: its placement group {group.id.hex()} was removed"):
            made.run()


class TestInitialisation:
    """Ray connects a process to one cluster."""

    def test_arguments_that_hold(self, local_ray):
        context = ray.get_runtime_context()
        address, namespace = {"address": context.gcs_address}, {"namespace": context.namespace}
        same = {"address": "local", "num_cpus": 2, "num_gpus": 0, "resources": None, "_node_ip_address": "127.0.0.1"}
        shown = {"include_dashboard": False, "log_to_driver": False, "logging_level": 30}
        for held in (address, {"address": "auto"}, namespace, {**same, **shown}, {}, None):
            assert make(variable("nothing"), ray_init_args=held).run() is None

    @pytest.mark.parametrize(
        "other",
        [
            {"address": "ray://127.0.0.1:1"},
            {"namespace": "x"},
            {"num_cpus": 3},
            {"num_gpus": 1},
            {"resources": {"_disk": 1}},
            {"labels": {"zone": "a"}},
            {"_temp_dir": "/nowhere"},
        ],
    )
    def test_arguments_that_do_not(self, local_ray, other):
        with pytest.raises(OptionError, match=f"{next(iter(other))!r} would have no effect.*ray.shutdown"):
            make(variable("nothing"), ray_init_args=other)

    def test_arguments_that_need_not(self, local_ray):
        made = make(variable("nothing"), ray_init_args={"num_cpus": 3, "ignore_reinit_error": True})
        assert made.run() is None


def test_resources_grow_with_each_attempt(local_ray, tmp_path):
    """Ray gives each attempt of a node what it needs then."""

    @workflow
    def assigned(path):
        found = int(ray.get_runtime_context().get_assigned_resources()["memory"]) >> 20
        noted = [*(path.read_text().split() if path.exists() else ()), str(found)]
        path.write_text(" ".join(noted))
        if len(noted) < 3:
            raise MemoryError("more")
        return noted

    flow = RayWorkflow(assigned(tmp_path / "log").set_name("n"), workflow_name="grows")
    path = tmp_path / "profile.toml"
    path.write_text('[nodes.n]\nmemory = { start = "10 MiB", retry = 2.0 }\nretries = { times = 3 }\n')
    flow.apply_profile(path)
    assert flow.run() == ["10", "20", "40"]
