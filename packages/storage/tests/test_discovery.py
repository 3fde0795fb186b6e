"""Serializers that are found because a package declares them."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

from functionfuse.storage import Serializer

PACKAGE = Path(__file__).parents[1]
DECLARED = tomllib.loads((PACKAGE / "pyproject.toml").read_text(encoding="utf-8"))["project"]["entry-points"][
    "functionfuse.serializers"
]

MODULE = """
from functionfuse.storage import Serializer

class Point:
    def __init__(self, x):
        self.x = x

class PointSerializer(Serializer):
    name, types = "point", ("found_module.Point",)

    def save(self, obj, out):
        return obj.x if obj.x else NotImplemented

    def load(self, state, inp, version):
        return Point(state + 100)

class Unusable(PointSerializer):
    name, requires = "unusable", ("no_such_module",)
"""

PROGRAM = """
import sys, warnings
from found_module import Point
from functionfuse.errors import MissingSerializer
from functionfuse.storage import FileStore, Serializer

warnings.simplefilter("error")
store = FileStore(sys.argv[1], durable=False)
"""

USE = """
store.save("w", "a", [Point(1), Point(0)])
print([point.x for point in store.read_task("w", "a")], store.info("w", "a")["serializers"])
"""


@pytest.fixture
def run(tmp_path):
    """Run a program where a package declares serializers."""
    (tmp_path / "found_module.py").write_text(MODULE)

    def run(program, **declared):
        folder = tmp_path / "found-1.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: found\nVersion: 1\n")
        lines = [f"{name} = {target}" for name, target in declared.items()]
        (folder / "entry_points.txt").write_text("\n".join(["[functionfuse.serializers]", *lines, ""]))
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM + program, str(tmp_path / "store")],
            env={**os.environ, "PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return run


@pytest.mark.parametrize("name", DECLARED)
def test_what_this_package_declares(name):
    module, _, cls = DECLARED[name].partition(":")
    serializer = getattr(import_module(module), cls)
    assert issubclass(serializer, Serializer)
    assert serializer.name == name
    assert all(isinstance(one, str) for one in serializer.types)  # nothing is imported before it is needed


def test_it_saves_and_loads_without_being_registered(run):
    assert run(USE, point="found_module:PointSerializer") == "[101, 0] {'point': 1}"


def test_where_what_it_needs_is_missing_plain_pickling_stays(run):
    assert run(USE, unusable="found_module:Unusable") == "[1, 0] {}"


def test_a_record_that_needs_what_is_missing(run):
    program = """
store.register_persistent_serializers(type("Usable", (Unusable,), {"requires": ()}))
store.save("w", "a", Point(1))
try:
    FileStore(sys.argv[1]).read_task("w", "a")
except MissingSerializer as error:
    print(error)
"""
    said = run("from found_module import Unusable" + program, unusable="found_module:Unusable")
    assert said == "saved with serializer 'unusable', which needs no_such_module: not installed here"


def test_a_registered_one_comes_first(run):
    program = """
from found_module import PointSerializer
class Mine(PointSerializer):
    name = "mine"
store.register_persistent_serializers(Mine)
"""
    assert run(program + USE, point="found_module:PointSerializer") == "[101, 0] {'mine': 1}"


def test_a_broken_one_is_reported_once_and_left_out(run):
    program = """
warnings.simplefilter("always")
warnings.showwarning = lambda message, *rest: print(message)
"""
    said = run(program + USE, point="found_module:PointSerializer", broken="found_module:Nothing").splitlines()
    assert len(said) == 2
    assert "serializer 'broken' cannot be used: 'found_module:Nothing' failed to load" in said[0]
    assert said[1] == "[101, 0] {'point': 1}"
