"""Runs mypy and pyright, both strict, over `tests/typed` and the Python blocks of documents: `hatch run check`.

A comment says which checkers report a line of `tests/typed/misuse.py`, and what is wrong with it; every other line has
to pass. docs/typing.md shows those lines as a table, which is compared too.

In documents, functions may be without annotations, as scientists write them; all else is strict.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from test_documents import script_of

ROOT = Path(__file__).parents[1]
SUITE = sorted((ROOT / "tests" / "typed").glob("*.py"))
MISUSE = ROOT / "tests" / "typed" / "misuse.py"
ANNOTATED = ["docs/typing.md"]
PLAIN = ["README.md", "docs/scientists.md", "docs/graphs.md", "docs/engineers.md"]
CHECKERS = ("mypy", "pyright")
EXPECTED = re.compile(r"  # ([a-z ]+|-): (.+)$")

# Two comments, for the first lines of a document, which are its title: what they allow is to leave out annotations.
RELAXED = (
    "# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls",
    "# pyright: reportMissingParameterType=false, reportUnknownParameterType=false, reportUnknownArgumentType=false, "
    "reportUnknownVariableType=false, reportUnknownMemberType=false, reportUnknownLambdaType=false, "
    "reportConstantRedefinition=false",  # a constant that has changed is a subject of theirs
)

# Lines of documents that show what is wrong.
WRONG_IN_DOCUMENTS = {
    "docs/scientists.md": {
        "mean(data, 3)": "mypy pyright",
        "if average > 1:": "pyright",
        'first, second = data["values"]': "mypy pyright",
        "plain = RunningMean.__wrapped__()": "mypy",
    }
}


class Case(NamedTuple):
    """A line that is wrong: which checkers report it, and what is wrong."""

    line: int
    code: str
    checkers: frozenset[str]
    meaning: str


def cases(source: str) -> list[Case]:
    """The lines of a source whose comments say what is wrong."""
    found = []
    for number, line in enumerate(source.splitlines(), 1):
        if match := EXPECTED.search(line):
            found.append(Case(number, line[: match.start()], frozenset(match[1].split()) - {"-"}, match[2]))
    return found


def table(source: str) -> str:
    """The lines that are wrong as the table of docs/typing.md."""
    rows = [f"| line | what is wrong | {' | '.join(CHECKERS)} |", f"| --- | --- |{' --- |' * len(CHECKERS)}"]
    for case in cases(source):
        marks = " | ".join("yes" if checker in case.checkers else "no" for checker in CHECKERS)
        rows.append(f"| `{case.code.removesuffix(':')}` | {case.meaning} | {marks} |")
    return "\n".join(rows)


def sources() -> dict[str, tuple[str, set[tuple[int, str]]]]:
    """What is checked, by the name of a file: the source, and which lines are reported by which checkers."""
    found = {}
    for path in SUITE:
        source = path.read_text(encoding="utf-8")
        expected = {(case.line, checker) for case in cases(source) for checker in case.checkers}
        found[path.name] = source, expected
    for document in [*ANNOTATED, *PLAIN]:
        lines = script_of((ROOT / document).read_text(encoding="utf-8")).splitlines()
        wrong = WRONG_IN_DOCUMENTS.get(document, {})
        expected = {
            (number, checker) for number, line in enumerate(lines, 1) for checker in wrong.get(line.strip(), "").split()
        }
        if document in PLAIN:
            assert lines[:2] == ["", ""], f"{document} begins with code"
            lines[:2] = RELAXED
        found[document.replace("/", "_").replace(".md", "_md.py")] = "\n".join(lines) + "\n", expected
    return found


def run_mypy(folder: Path) -> set[tuple[str, int, str]]:
    """Errors of mypy in the files of a folder: name, line, message."""
    packages = os.pathsep.join(str(path) for path in ROOT.glob("packages/*/src"))
    command = [sys.executable, "-m", "mypy", "--no-error-summary", "--show-absolute-path", "--hide-error-context"]
    command += ["--config-file", str(ROOT / "pyproject.toml"), *map(str, sorted(folder.glob("*.py")))]
    env = {**os.environ, "MYPYPATH": packages}
    ended = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    if ended.returncode not in (0, 1):
        sys.exit(f"mypy failed\n{ended.stdout}{ended.stderr}")
    found = re.findall(r"^(.+?):(\d+): error: (.*)$", ended.stdout, flags=re.MULTILINE)
    return {(Path(file).name, int(line), message) for file, line, message in found}


def run_pyright(folder: Path) -> set[tuple[str, int, str]]:
    """Errors and warnings of pyright in the files of a folder: name, line, message."""
    installed = folder / "installed"  # as one folder, as packages are when they are not editable
    for path in ROOT.glob("packages/*/src"):
        shutil.copytree(path, installed, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
    config = {"include": ["*.py"], "strict": ["*.py"], "extraPaths": ["installed"], "pythonVersion": "3.11"}
    config["reportUnusedExpression"] = config["reportUnusedVariable"] = "none"  # as in examples
    (folder / "pyrightconfig.json").write_text(json.dumps(config), encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "pyright",
        "--outputjson",
        "--pythonpath",
        sys.executable,
        "--project",
        str(folder),
    ]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        diagnostics = json.loads(ended.stdout)["generalDiagnostics"]
    except ValueError:
        sys.exit(f"pyright failed\n{ended.stdout}{ended.stderr}")
    return {
        (Path(one["file"]).name, one["range"]["start"]["line"] + 1, f"{one['message']}  [{one.get('rule')}]")
        for one in diagnostics
        if one["severity"] != "information"
    }


def problems(folder: Path) -> list[str]:
    """What is reported and should not be, and what should be reported and is not."""
    checked = sources()
    for name, (source, _) in checked.items():
        (folder / name).write_text(source, encoding="utf-8")
    wrong = []
    for checker, run in (("mypy", run_mypy), ("pyright", run_pyright)):
        reported = run(folder)
        expected = {(name, line) for name, (_, lines) in checked.items() for line, by in lines if by == checker}
        wrong += [f"{n}:{line}: {checker}: {text}" for n, line, text in sorted(reported) if (n, line) not in expected]
        missing = expected - {(name, line) for name, line, _ in reported}
        wrong += [f"{name}:{line}: {checker}: reports nothing" for name, line in sorted(missing)]
    return wrong


def main() -> None:
    """Check, and end with what is wrong."""
    with tempfile.TemporaryDirectory() as folder:
        wrong = problems(Path(folder))
    if wrong:
        sys.exit("\n".join(wrong))
    print(f"mypy and pyright see {len(sources())} files as they should")


if __name__ == "__main__":
    main()
