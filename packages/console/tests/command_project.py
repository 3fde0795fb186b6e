"""A project of a user, and the command line in it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import jsonschema
from click.testing import CliRunner

from functionfuse.console._command.application import CommandLine

SCHEMA = json.loads((Path(sys.modules["functionfuse.console"].__file__).parent / "schema.json").read_text("utf-8"))
GRAPHS = '''
import enum
import os
import sys
from pathlib import Path
from typing import Literal, Optional

from functionfuse import sweep, workflow

print("printed at import")
if "BY_A_PROCESS" in os.environ:
    os.system("echo printed by a process")


class Kind(enum.Enum):
    TRAIN = 1
    TEST = 2


@workflow
def add(a, b):
    print(f"adding {a} and {b}")
    return a + b


@workflow
def shown(*values):
    return repr(values)


@workflow
def divide(a, b=0):
    return a / b


@workflow
def array(n):
    import numpy

    return numpy.zeros((n, 2))


one = add(1, 1).set_name("one")
pair = [one, add(one, 5).set_name("six")]
by_name = {"first": one}
swept = sweep(add, a=[1, 2], b=3)
number = 5


def build(n: int, *, rate: float = 0.5, workers: int = 2):
    """Build a graph.

    Args:
        n: how many there are.
        rate: of learning.
    """
    x = add(n, rate).set_name("x")
    return add(x, workers).set_name("y"), add(x, n).set_name("z")


def everything(
    path: Path = Path("data"),
    mode: Literal["fast", "slow"] = "fast",
    kind: Kind = Kind.TRAIN,
    flag: bool = False,
    maybe: Optional[int] = None,
    rates: list[float] = (0.1, 0.2),
    size: tuple[int, int] = (1, 2),
    guess=1.5,
    free=None,
    json: str = "own",
):
    return shown(str(path), mode, kind.name, flag, maybe, tuple(rates), tuple(size), guess, free, json).set_name("all")


def failing(n: int = 1):
    return divide(add(n, 0).set_name("sum")).set_name("bad")


def arrays(n: int = 3):
    return array(n).set_name("array")


def nothing():
    return []


def wrong():
    return [1, 2]


def raising():
    raise RuntimeError("cannot build")
'''


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def document(self):
        """What it wrote with `--json`, as the schema describes it."""
        document = json.loads(self.out)
        jsonschema.validate(document, SCHEMA)
        return document


class Project:
    """A folder with graphs, in which commands run: in this process, or in one of their own."""

    def __init__(self, folder):
        self.folder = folder
        (folder / "graphs.py").write_text(GRAPHS, encoding="utf-8")

    def write(self, name, text):
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        return path

    def run(self, *arguments, code=0):
        """Run a command in this process."""
        path, modules = list(sys.path), set(sys.modules)
        ended = CliRunner().invoke(CommandLine(), [str(one) for one in arguments], catch_exceptions=False)
        sys.path[:] = path
        for name in set(sys.modules) - modules:
            if str(getattr(sys.modules[name], "__file__", None) or "").startswith(str(self.folder)):
                del sys.modules[name]
        assert ended.exit_code == code, ended.output
        return Ended(ended.exit_code, ended.stdout, ended.stderr)

    def spawn(self, *arguments, code=0, **options):
        """Run a command in a process of its own."""
        ended = subprocess.run(
            command(*arguments),
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            **options,
        )
        assert ended.returncode == code, ended.stderr
        return Ended(ended.returncode, ended.stdout, ended.stderr)


def command(*arguments):
    return [sys.executable, "-m", "functionfuse.console", *map(str, arguments)]


def environment(**changed):
    return {**os.environ, **changed}
