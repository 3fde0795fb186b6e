"""The conformance suite of backends: what nodes need, and what profiles grant them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from functionfuse.backends.options import RESOURCES, SECRET_SOURCES, Growing
from functionfuse.backends.secrets import Secret
from functionfuse.errors import NodeError, ProfileError
from functionfuse.testing.backend_suite import BackendSuite, StepLog, requires
from functionfuse.testing.functions import fails_until, running_at_once, same, variable
from functionfuse.testing.standard_tests import core

if TYPE_CHECKING:
    from pathlib import Path

PROFILE = """
[classes.modest]
cpus = 1

[nodes.a]
{a}

[nodes."b.*"]
timeout = 60
retries = {{ times = 2, exceptions = ["builtins:ConnectionError"] }}

[env.other.nodes.b]
cache = "never"
"""
NEEDS = {"cpus": 1, "gpus": 1, "memory": 1, "disk": 1, "accelerator": "T4", "custom": {"licence": 1}}


class ResourceTests(BackendSuite, suite=True):
    """What an engine cannot grant is refused in the plan; what it can is there when the node runs."""

    @core
    def test_resources_that_are_not_granted(self, make_workflow: Any) -> None:
        """A node that needs one is blocked in the plan, as is one whose need grows where the engine cannot do that."""
        for kind in RESOURCES:
            workflow = make_workflow(same(1).set_name("a"))
            if kind not in workflow.grants:
                workflow.query("a").set_resources(**{kind: NEEDS[kind]})
                [step] = workflow.plan()
                assert (step.action, "does not grant the resource" in step.reason) == ("blocked", True)
        workflow = make_workflow(same(1).set_name("a"))
        workflow.query("a")._set(resources={"memory": Growing(1, 2.0)})
        is_granted = workflow.grows and "memory" in workflow.grants
        assert workflow.plan()["a"].action == ("run" if is_granted else "blocked")

    @requires("retry")
    def test_resources_that_grow(self, make_workflow: Any, log: StepLog) -> None:
        """Each attempt is given to the engine with more than the one before; what it has not blocks the plan."""
        flaky = fails_until(log.path, 3).set_name("flaky")
        workflow = make_workflow(same(flaky).set_name("last"))
        if not workflow.grows or "memory" not in workflow.grants:
            pytest.skip("each attempt gets the same")
        workflow.query("flaky")._set(resources={"memory": Growing(1 << 20, 2.0)})
        workflow.query("flaky").set_retry(2, delay=0.01)
        events: list[tuple[str, str]] = []
        workflow.add_observer(lambda event: events.append((event.kind, event.name)))
        assert workflow.run() == 3
        assert log.words() == ["attempt"] * 3
        assert events == [(kind, name) for name in ("flaky", "last") for kind in ("started", "finished")]
        other = make_workflow(fails_until(f"{log.path}2", 9).set_name("flaky"))
        other.query("flaky").set_retry(2)._set(resources={"memory": Growing(1 << 20, 2.0)})
        with pytest.raises(NodeError, match=r"(?s)attempt 3.*3 attempts"):
            other.run()
        if workflow.grants["memory"] < 1e18:
            other.query("flaky")._set(resources={"memory": Growing(int(workflow.grants["memory"]), 2.0)})
            assert "needs" in other.plan()["flaky"].reason

    def test_resources_that_are_granted(self, make_workflow: Any) -> None:
        """A node has what it needs, and the plan says what that is."""
        workflow = make_workflow(same(1).set_name("a"), same(2).set_name("b"))
        granted = {kind: 1 for kind in ("cpus", "memory") if kind in workflow.grants}
        workflow.query("a").set_resources(**granted)
        assert workflow.run() == [1, 2]
        assert all(f"{kind}: 1" in str(workflow.plan()) for kind in granted)

    def test_environment_variables(self, make_workflow: Any, tmp_path: Path) -> None:
        """A node sees its own, secrets too, and the others do not."""
        workflow = make_workflow(*[variable(f"FUNCTIONFUSE_{name}").set_name(name) for name in ("A", "B", "C")])
        if "environment" not in workflow.supports:
            pytest.skip("nodes of this backend share the environment of a process")
        (tmp_path / "secret").write_text("s\n")
        workflow.query("A").set_environment({"FUNCTIONFUSE_A": "a"})
        workflow.query("B").set_environment({"FUNCTIONFUSE_B": Secret("file", str(tmp_path / "secret"))})
        assert workflow.run() == ["a", "s", None]
        assert "FUNCTIONFUSE_A" not in os.environ

    def test_secrets_of_another_source(self, make_workflow: Any) -> None:
        """Those that the engine does not know block the node in the plan."""
        workflow = make_workflow(variable("TOKEN").set_name("a"))
        if workflow.secret_sources == SECRET_SOURCES:
            workflow.query("a").set_environment({"TOKEN": Secret("k8s", "secret/key")})
            assert workflow.plan()["a"].action == "blocked"

    @requires("retry")
    def test_a_profile(self, make_workflow: Any, tmp_path: Path, log: StepLog) -> None:
        """Options from a file, by environment; what queries set wins; a file that is wrong sets nothing."""
        workflow = make_workflow(variable("FUNCTIONFUSE_A").set_name("a"), fails_until(log.path, 2).set_name("b"))
        workflow.query("b").set_timeout(50)
        sees = "environment" in workflow.supports
        given = ['environment = { FUNCTIONFUSE_A = "5" }'] * sees + ['class = "modest"'] * ("cpus" in workflow.grants)
        path = tmp_path / "profile.toml"
        path.write_text(PROFILE.format(a="\n".join(given)))
        workflow.apply_profile(path, env="other")
        b = workflow.plan()["b"].options
        assert (b.retry.times, b.timeout, b.cache) == (2, 50.0, "never")
        assert workflow.run() == ["5" if sees else None, 2]
        path.write_text("[nodes.a]\ntimeout = 5\n[nodes.c]\ntimeout = 5\n")
        with pytest.raises(ProfileError, match=r"profile.toml:3: no node's name matches 'c'"):
            workflow.apply_profile(path)
        assert workflow.plan()["a"].options.timeout is None

    def test_limits_of_tags(self, make_workflow: Any, tmp_path: Path) -> None:
        """As many nodes with a tag run at a time as a profile says."""
        (tmp_path / "running").mkdir()
        calls = [running_at_once(str(tmp_path / "running"), str(n)).set_name(f"n{n}") for n in range(6)]
        workflow = make_workflow(*calls)
        if "tags" not in workflow.supports:
            pytest.skip("the engine starts nodes by itself")
        path = tmp_path / "profile.toml"
        path.write_text('[nodes."n.*"]\ntags = ["few"]\n[limits]\nfew = 1\n')
        workflow.apply_profile(path)
        assert workflow.run() == [1] * 6
