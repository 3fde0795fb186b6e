"""A backend implements one hook: it overrides nothing that is private in the frontend."""

from __future__ import annotations

import importlib

import pytest

from functionfuse.backends.base import BaseWorkflow
from functionfuse.backends.execution import Run
from functionfuse.backends.planning import Planner
from functionfuse.backends.session import Session

BACKENDS = [
    "functionfuse.backends.builtin.graphback",
    "functionfuse.backends.builtin.localback",
    "functionfuse.backends.builtin.rayback",
    "functionfuse.backends.addons.rayworkflowback",
    "functionfuse.backends.addons.rayworkflow",
    "functionfuse.backends.addons.prefectback",
    "functionfuse.backends.addons.kfpback",
    "functionfuse.testing",
]


def subclasses(base):
    for cls in base.__subclasses__():
        if cls.__module__.startswith("functionfuse."):
            yield cls
        yield from subclasses(cls)


def private(cls):
    return {name for name in vars(cls) if name.startswith("_") and not name.startswith("__")} - {"_abc_impl"}


@pytest.fixture(autouse=True, scope="module")
def _backends():
    for module in BACKENDS:
        importlib.import_module(module)


def test_no_backend_overrides_what_is_private():
    assert "_replace" in private(BaseWorkflow)
    found = {cls: private(cls) & private(BaseWorkflow) for cls in subclasses(BaseWorkflow)}
    assert {cls: names for cls, names in found.items() if names} == {}
    assert len(found) >= 6


@pytest.mark.parametrize("cls", [Run, Planner, Session])
def test_nobody_derives_from_what_runs(cls):
    assert list(subclasses(cls)) == []


def test_every_workflow_is_made_by_its_constructor():
    found = [cls for cls in subclasses(BaseWorkflow) if "__init__" in vars(cls)]
    assert [cls for cls in found if "__init__" not in cls.__init__.__code__.co_names] == []
