"""The original's names of parameters: every function of the table has the name that today's stands for."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path

import pytest

from functionfuse.original import NAMES

OWNERS = {
    "functionfuse.backends.base:BaseWorkflow": ["set_storage", "log_nodes", "set_plugin", "replace_func"],
    "functionfuse.backends.builtin.rayback:RayQuery": ["set_remote_args"],
    "functionfuse.backends.addons.kfpback:KFPQuery": ["set_task_args"],
    "functionfuse.backends.addons.kfpback:KFPWorkflow": ["set_registry_credentials", "set_baseimage", "set_kfp_host"],
    "functionfuse.backends.addons.prefectback:PrefectWorkflow": ["set_prefect_flow_options"],
    "functionfuse.storage:storage_factory": ["storage_factory"],
    "functionfuse.storage:FileStore": ["save", "has_task"],
    "functionfuse.storage:S3Store": ["save", "has_task"],
    "functionfuse.storage:RayStore": ["save"],
}


def functions_of(owner):
    module, _, name = owner.partition(":")
    found = getattr(importlib.import_module(module), name)
    return [found if inspect.isfunction(found) else getattr(found, method) for method in OWNERS[owner]]


@pytest.mark.parametrize("owner", OWNERS)
def test_todays_names_are_those_of_the_function(owner):
    for function in functions_of(owner):
        assert set(NAMES[function.__name__].values()) <= set(inspect.signature(function).parameters)


@pytest.mark.parametrize("owner", OWNERS)
def test_the_originals_names_are_accepted(owner):
    for function in functions_of(owner):
        for original, name in NAMES[function.__name__].items():
            with pytest.raises(TypeError, match=f"got '{name}' twice: also as '{original}'"):
                function(**{original: None, name: None})


def test_the_table_is_used_as_a_whole():
    assert {name for names in OWNERS.values() for name in names} == set(NAMES)


def test_the_table_of_the_document():
    text = (Path(__file__).parents[1] / "docs" / "coming-from-the-original.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1:4] for line in text.splitlines() if line.startswith("| `")]
    documented = {}
    for functions, original, name in rows:
        for function in re.findall(r"`(\w+)`", functions):
            documented.setdefault(function, {})[original.strip(" `")] = name.strip(" `")
    known = {"file_exists" if function == "has_task" else function: names for function, names in NAMES.items()}
    assert {function: documented.get(function) for function in known} == known


def test_in_use(tmp_path):
    from functionfuse.storage import storage_factory

    store = storage_factory(opt={"kind": "file", "options": {"path": str(tmp_path)}})
    store.save("w", filename="n", obj=1)
    assert store.file_exists("w", filename="n")
