"""The built wheels: what is in them, and that they install alone, together, and beside editable packages."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path
from typing import NamedTuple

import pytest

PACKAGES = Path(__file__).parents[1] / "packages"

# By distribution: its folder, what it imports as, and what it installs with it.
FOLDERS = {
    "functionfuse": "frontend",
    "functionfuse-storage": "storage",
    "functionfuse-backend-local": "backend-local",
    "functionfuse-backend-ray": "backend-ray",
    "functionfuse-backend-prefect": "backend-prefect",
    "functionfuse-backend-kfp": "backend-kfp",
    "functionfuse-console": "console",
}
DATA = {
    "functionfuse": ["functionfuse/backends/profile.schema.json", "functionfuse/py.typed"],
    "functionfuse-console": [
        "functionfuse/console/_page/page.css",
        "functionfuse/console/_page/page.js",
        "functionfuse/console/_report/report.css",
        "functionfuse/console/_report/report.js",
        "functionfuse/console/schema.json",
    ],
}
MODULES = {
    "functionfuse": ["functionfuse", "functionfuse.backends.base", "functionfuse.testing"],
    "functionfuse-storage": ["functionfuse.storage", "functionfuse.serializers.daskarray"],
    "functionfuse-backend-local": [
        "functionfuse.backends.builtin.localback",
        "functionfuse.backends.builtin.graphback",
    ],
    "functionfuse-backend-ray": [
        "functionfuse.backends.builtin.rayback",
        "functionfuse.backends.addons.rayworkflow",
        "functionfuse.backends.addons.rayworkflowback",
    ],
    "functionfuse-backend-prefect": ["functionfuse.backends.addons.prefectback"],
    "functionfuse-backend-kfp": ["functionfuse.backends.addons.kfpback"],
    "functionfuse-console": ["functionfuse.console"],
}
INSTALLED = {
    "functionfuse": {"functionfuse"},
    "functionfuse-storage": {"functionfuse-storage", "functionfuse", "cloudpickle", "xxhash"},
    "functionfuse-console": {
        "functionfuse-console",
        "functionfuse",
        "click",
        "markdown-it-py",
        "mdurl",
        "pygments",
        "rich",
    },
    "functionfuse-backend-local": {
        "functionfuse-backend-local",
        "functionfuse",
        "cloudpickle",
        "loky",
    },
    "functionfuse-backend-ray": {
        "functionfuse-backend-ray",
        "functionfuse",
        "attrs",
        "certifi",
        "charset-normalizer",
        "click",
        "filelock",
        "idna",
        "jsonschema",
        "jsonschema-specifications",
        "msgpack",
        "packaging",
        "protobuf",
        "pyyaml",
        "ray",
        "referencing",
        "requests",
        "rpds-py",
        "typing-extensions",
        "urllib3",
    },
    "functionfuse-backend-kfp": {
        "functionfuse-backend-kfp",
        "functionfuse",
        "certifi",
        "cffi",
        "charset-normalizer",
        "click",
        "click-option-group",
        "cloudpickle",
        "cryptography",
        "docstring-parser",
        "google-api-core",
        "google-auth",
        "google-cloud-core",
        "google-cloud-storage",
        "google-crc32c",
        "google-resumable-media",
        "googleapis-common-protos",
        "idna",
        "kfp",
        "kfp-kubernetes",
        "kfp-pipeline-spec",
        "kfp-server-api",
        "kubernetes",
        "oauthlib",
        "opentelemetry-api",
        "proto-plus",
        "protobuf",
        "pyasn1",
        "pyasn1-modules",
        "pycparser",
        "python-dateutil",
        "pyyaml",
        "requests",
        "requests-oauthlib",
        "requests-toolbelt",
        "six",
        "tabulate",
        "typing-extensions",
        "urllib3",
        "websocket-client",
    },
}
# Brings a hundred packages of its own along; these are what it has to have.
AT_LEAST = {"functionfuse-backend-prefect": {"functionfuse-backend-prefect", "functionfuse", "prefect", "cloudpickle"}}
DISTRIBUTIONS = list(FOLDERS)

PROGRAM = """
from functionfuse import workflow
from functionfuse.backends.builtin.graphback import GraphWorkflow
from functionfuse.backends.builtin.localback import LocalWorkflow
from functionfuse.storage import storage_factory

@workflow
def add(a, b):
    return a + b

node = add(add(1, 1).set_name("two"), 1).set_name("three")
local = LocalWorkflow(node, workflow_name="wheels")
local.set_storage(storage_factory({"kind": "file", "options": {"path": "storage"}}))
print(local.run(), len(local.plan().having("reuse")), local.run(max_workers=1, reuse="never"))
print(GraphWorkflow(node, workflow_name="picture").run())
"""

uv = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
needs_uv = pytest.mark.skipif(not Path(uv).exists(), reason="uv is not installed")
needs_hatchling = pytest.mark.skipif(importlib.util.find_spec("hatchling") is None, reason="hatchling is not installed")
pytestmark = needs_hatchling
ONE_MORE = pytest.mark.slow(reason="one more environment with all engines")


class Wheel(NamedTuple):
    """A built wheel: where it is, what it holds, and its metadata by key."""

    path: Path
    files: list[str]
    metadata: dict[str, list[str]]


def build(distribution: str, folder: Path) -> Wheel:
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(command, cwd=PACKAGES / FOLDERS[distribution], check=True, capture_output=True, timeout=120)
    [path] = folder.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        files = archive.namelist()
        [name] = [name for name in files if name.endswith(".dist-info/METADATA")]
        parsed = Parser().parsestr(archive.read(name).decode())
    metadata: dict[str, list[str]] = {}
    for key, value in parsed.items():
        metadata.setdefault(key, []).append(value)
    return Wheel(path, files, metadata)


@pytest.fixture(scope="session")
def wheels(tmp_path_factory):
    return {name: build(name, tmp_path_factory.mktemp(name)) for name in DISTRIBUTIONS}


class Environment:
    """A clean virtual environment."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "environment"
        self.uv("venv", "--python", sys.executable, str(self.folder))
        self.python = str(self.folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python"))

    def uv(self, *arguments: str) -> str:
        environment = {key: value for key, value in os.environ.items() if key not in ("VIRTUAL_ENV", "PYTHONPATH")}
        command = [uv, *arguments]
        ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    def install(self, *arguments: str | Path) -> None:
        constraints = PACKAGES.parent / "constraints.txt"  # what is installed changes with releases of third parties
        self.uv("pip", "install", "--python", self.python, "--constraint", str(constraints), *map(str, arguments))

    def installed(self) -> set[str]:
        return {one["name"] for one in json.loads(self.uv("pip", "list", "--python", self.python, "--format", "json"))}

    def run(self, code: str, folder: Path) -> list[str]:
        command = [self.python, "-I", "-W", "error", "-c", code]
        ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=120)
        assert (ended.returncode, ended.stderr) == (0, "")
        return ended.stdout.splitlines()


@pytest.fixture
def environment(tmp_path):
    return Environment(tmp_path)


def test_every_package_is_looked_at():
    assert sorted(path.parent.name for path in PACKAGES.glob("*/pyproject.toml")) == sorted(FOLDERS.values())


def test_no_path_is_shipped_twice(wheels):
    owners: dict[str, list[str]] = {}
    for name, wheel in wheels.items():
        for file in wheel.files:
            owners.setdefault(file, []).append(name)
    assert {file: names for file, names in owners.items() if len(names) > 1} == {}


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
class TestContents:
    def test_every_module_of_the_package_is_in_it(self, wheels, distribution):
        source = PACKAGES / FOLDERS[distribution] / "src"
        expected = {path.relative_to(source).as_posix() for path in source.rglob("*.py")}
        assert {file for file in wheels[distribution].files if file.endswith(".py")} == expected

    def test_nothing_else_is_in_it(self, wheels, distribution):
        others = [f for f in wheels[distribution].files if not f.endswith(".py") and ".dist-info/" not in f]
        assert sorted(others) == DATA.get(distribution, [])

    def test_the_license_is_in_it(self, wheels, distribution):
        assert [f for f in wheels[distribution].files if f.endswith(".dist-info/licenses/LICENSE")] != []
        assert wheels[distribution].metadata["License-Expression"] == ["Apache-2.0"]

    def test_the_readme_describes_it(self, wheels, distribution):
        assert wheels[distribution].metadata["Name"] == [distribution]
        assert wheels[distribution].metadata["Description-Content-Type"] == ["text/markdown"]

    def test_the_changelog_knows_its_version(self, wheels, distribution):
        changelog = (PACKAGES / FOLDERS[distribution] / "CHANGELOG.md").read_text(encoding="utf-8")
        [version] = wheels[distribution].metadata["Version"]
        assert f"## {version}\n" in changelog


def test_the_frontend_needs_nothing(wheels):
    assert "Requires-Dist" not in wheels["functionfuse"].metadata


def test_the_frontend_says_its_version(wheels):
    import functionfuse

    assert wheels["functionfuse"].metadata["Version"] == [functionfuse.__version__]


@needs_uv
@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_a_wheel_installs_alone(wheels, distribution, environment, tmp_path):
    needed = {wheels[name].path for name in (distribution, "functionfuse")}
    environment.install(*needed)
    installed = environment.installed()
    assert installed == INSTALLED.get(distribution, installed | AT_LEAST.get(distribution, set()))
    imports = "; ".join(f"import {module}" for module in MODULES[distribution])
    assert environment.run(f"{imports}; print('imported')", tmp_path) == ["imported"]


@needs_uv
def test_what_is_not_installed_is_named(wheels, environment, tmp_path):
    environment.install(wheels["functionfuse"].path, wheels["functionfuse-storage"].path)
    missing = {module: name for name in DISTRIBUTIONS for module in MODULES[name] if "backend-" in name}
    code = (
        "import importlib\n"
        f"for module in {list(missing)}:\n"
        "    try: importlib.import_module(module)\n"
        "    except ImportError as error: print(error)\n"
    )
    errors = [f"no module {module!r} is installed: pip install {name}" for module, name in missing.items()]
    assert environment.run(code, tmp_path) == errors


WITHOUT_PICTURES = """
from functionfuse import workflow
from functionfuse.backends.builtin.graphback import GraphWorkflow, PictureError
from functionfuse.backends.builtin.localback import LocalWorkflow

@workflow
def one():
    return 1

print(LocalWorkflow(one(), workflow_name="local").run(), LocalWorkflow(one(), workflow_name="local")._repr_svg_())
try:
    GraphWorkflow(one(), workflow_name="picture").run()
except PictureError as error:
    print(error)
"""


@needs_uv
def test_pictures_are_an_extra(wheels, environment, tmp_path):
    environment.install(*[wheels[name].path for name in ("functionfuse", "functionfuse-backend-local")])
    assert environment.run(WITHOUT_PICTURES, tmp_path) == [
        "1 None",
        "pictures need packages that are not installed: pip install 'functionfuse-backend-local[pictures]'",
    ]


@needs_uv
@pytest.mark.parametrize(
    "editable",
    [
        [],
        pytest.param(["functionfuse"], marks=ONE_MORE),
        ["functionfuse-storage", "functionfuse-backend-local"],
        pytest.param(DISTRIBUTIONS, marks=ONE_MORE),
    ],
    ids=["all_wheels", "editable_frontend", "editable_others", "all_editable"],
)
def test_installed_together_they_run_a_graph(wheels, editable, environment, tmp_path):
    arguments: list[str | Path] = []
    for name in DISTRIBUTIONS:
        path = f"{PACKAGES / FOLDERS[name] if name in editable else wheels[name].path}"
        path += "[pictures]" if name == "functionfuse-backend-local" else ""
        arguments += ["--editable", path] if name in editable else [path]
    environment.install(*arguments)
    assert environment.run(PROGRAM, tmp_path) == ["3 2 3", "picture.svg"]
