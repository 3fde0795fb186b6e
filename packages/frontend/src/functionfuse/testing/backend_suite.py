"""Fixtures and declarations that all parts of the conformance suite of backends share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import pytest

from functionfuse.testing.functions import noted_words
from functionfuse.testing.memory_store import MemoryStore
from functionfuse.testing.standard_tests import StandardTests

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from functionfuse.plan import Plan

CAPABILITIES = {
    "objects": "nodes of decorated classes",
    "dynamic": "functions that return nodes",
    "retry": "query(...).set_retry",
    "timeout": "query(...).set_timeout",
    "plugin": "plugins",
    "surroundings": "the working directory, environment and import path of the driver",
    "store": "saving results and reusing them",
    "progress": "showing the progress of a run",
    "finish": "letting nodes finish when a run is interrupted",
}
"""What a backend need not support, if it gives the reason in ``unsupported``."""

Tested = TypeVar("Tested")


def requires(capability: str) -> Callable[[Tested], Tested]:
    """Mark a test, or all tests of a class, as meant for backends that have this capability."""
    assert capability in CAPABILITIES, capability

    def mark(tested: Tested) -> Tested:
        tests = [tested] if not isinstance(tested, type) else [t for n, t in vars(tested).items() if n[:5] == "test_"]
        for test in tests:
            test.required = {*getattr(test, "required", ()), capability}  # type: ignore[union-attr]
        return tested

    return mark


class StepLog:
    """A file in which steps note that they ran, in whatever process.

    Attributes:
        path: the file's path, for `note`.
    """

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def words(self) -> list[str]:
        """Return the words noted so far, in the order of time."""
        return noted_words(self.path)

    def sorted(self) -> list[str]:
        """Return the words noted so far, sorted, for where the order of time depends on the engine."""
        return sorted(self.words())


class BackendSuite(StandardTests, suite=True):
    """Fixtures and declarations of an implementation.

    Attributes:
        unsupported: capabilities (keys of `CAPABILITIES`) that the backend does not support, with the reason for
            each.
        in_process: whether steps share the memory of this process, so that nothing is pickled.
        objects_stay: whether a stateful object stays in one process for all of its calls, so that it need not be
            pickled.
        stops_calls: whether calls that run are stopped when a run is interrupted, as threads cannot be.
        chain_length: nodes of the longest chain that the suite runs.
        recursion_depth: levels of the deepest dynamic graph that the suite runs.
        graph_size: nodes of the largest graph that the suite runs.
    """

    unsupported: ClassVar[Mapping[str, str]] = {}
    in_process: ClassVar[bool] = False
    objects_stay: ClassVar[bool] = False
    stops_calls: ClassVar[bool] = True
    chain_length: ClassVar[int] = 300
    recursion_depth: ClassVar[int] = 2_000
    graph_size: ClassVar[int] = 300

    @pytest.fixture
    def make_workflow(self) -> Callable[..., Any]:
        """Override: return a callable that makes a workflow.

        Its signature is ``(*nodes, workflow_name="conformance", scope="graph")``.
        """
        raise NotImplementedError("an implementation for the conformance suite has a fixture make_workflow")

    @pytest.fixture
    def store(self) -> Any:
        """Override if results have to be kept elsewhere than in this process."""
        return MemoryStore()

    @pytest.fixture
    def stored(self, make_workflow: Callable[..., Any], store: Any) -> Callable[..., Any]:
        """Make a workflow with the store."""

        def make(*nodes: Any, **options: Any) -> Any:
            made = make_workflow(*nodes, **options)
            made.set_storage(store)
            return made

        return make

    @pytest.fixture
    def log(self, tmp_path: Path) -> StepLog:
        """A file that steps write to."""
        return StepLog(tmp_path / "log")

    @pytest.fixture
    def run(self, make_workflow: Callable[..., Any]) -> Callable[..., Any]:
        """Make a workflow and run it."""
        return lambda *nodes, **options: make_workflow(*nodes, **options).run()

    @pytest.fixture(autouse=True)
    def _has_what_is_required(self, request: pytest.FixtureRequest) -> None:
        unknown = set(self.unsupported) - set(CAPABILITIES)
        assert not unknown, f"unknown capabilities {sorted(unknown)}; known: {sorted(CAPABILITIES)}"
        for capability in getattr(request.function, "required", ()):
            if capability in self.unsupported:
                pytest.skip(f"{CAPABILITIES[capability]}: {self.unsupported[capability]}")


def actions(plan: Plan) -> dict[str, str]:
    """Return the actions of a plan's steps by name."""
    return {step.name: step.action for step in plan}
