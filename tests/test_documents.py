"""Every python block of every document runs and prints what the document says; every relative link leads somewhere.

The blocks of one document run in order, as one script in a process of its own. A ``text`` block right behind a
``python`` block is what the latter prints.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from functionfuse.testing.store_tests import StoreTests

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in ("*.md", "docs/*.md", "packages/*/*.md")
    for path in ROOT.glob(pattern)
)
END = "<end of a block>"
PREFECT = {"PREFECT_SERVER_ANALYTICS_ENABLED": "false", "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120"}


class Block(NamedTuple):
    """A fenced block: its language, the lines of its fences (from 0), and what is between them."""

    language: str
    start: int
    end: int
    lines: list[str]


def blocks_of(text: str) -> list[Block]:
    blocks = []
    lines = text.splitlines()
    start = None
    for number, line in enumerate(lines):
        if line.startswith("```") and start is None:
            start = number
        elif line == "```" and start is not None:
            blocks.append(Block(lines[start][3:], start, number, lines[start + 1 : number]))
            start = None
    assert start is None, f"the block that starts in line {start} does not end"
    return blocks


def script_of(text: str) -> str:
    """The python blocks as a script in which every line has the number that it has in the document."""
    script = [""] * len(text.splitlines())
    for block in blocks_of(text):
        if block.language == "python":
            script[block.start + 1 : block.end] = block.lines
            script[block.end] = f"print({END!r})"
    return "\n".join(script) + "\n"


def promised_output(text: str) -> dict[int, str]:
    """What the document says that blocks print, by their place among the python blocks."""
    promised = {}
    blocks = blocks_of(text)
    lines = text.splitlines()
    python = [block for block in blocks if block.language == "python"]
    for block, following in pairwise(blocks):
        is_next = not any(lines[block.end + 1 : following.start])
        if (block.language, following.language, is_next) == ("python", "text", True):
            promised[python.index(block)] = "\n".join(following.lines)
    return promised


def run_document(text: str, name: str, folder: Path) -> list[str]:
    """Run the blocks of a document in a folder; return what each prints."""
    script = folder / f"{name.replace('/', '.')}.py"
    script.write_text(script_of(text), encoding="utf-8")
    command = [sys.executable, "-W", "error", str(script)]
    env = {**os.environ, **PREFECT, "PREFECT_HOME": str(folder / "prefect")}
    ended = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=300)
    if ended.returncode:
        line = re.findall(rf'File "{re.escape(str(script))}", line (\d+)', ended.stderr)
        pytest.fail(f"{name}, line {line[0] if line else '?'}: a block fails\n{ended.stderr}", pytrace=False)
    return [printed.strip("\n") for printed in ended.stdout.split(f"{END}\n")[:-1]]


def read(document: str) -> str:
    return (ROOT / document).read_text(encoding="utf-8")


def runnable() -> Iterator[Any]:
    """Yield the documents with Python; one that starts servers or clusters of its own is slow."""
    for name in DOCUMENTS:
        script = script_of(read(name))
        if script.strip():
            is_slow = any(engine in script for engine in ("prefectback", "rayback", "rayworkflow"))
            yield pytest.param(name, marks=pytest.mark.slow(reason="servers of its own") if is_slow else ())


@pytest.mark.parametrize("document", [*runnable()])
def test_every_block_runs_and_prints_what_is_promised(document, tmp_path):
    text = read(document)
    printed = run_document(text, document, tmp_path)
    promised = promised_output(text)
    assert {place: printed[place] for place in promised} == promised


@pytest.mark.slow(reason="the whole conformance suites")
def test_the_conformances_in_the_guide_are_passed(tmp_path):
    (tmp_path / "guide.py").write_text(script_of(read("docs/writing-a-backend.md")), encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "--quiet", "-p", "no:cacheprovider", "--rootdir=.", "guide.py"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300)
    assert ended.returncode == 0, ended.stdout[-5000:]
    assert int(re.findall(r"(\d+) passed", ended.stdout)[0]) > 100


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_relative_link_leads_to_a_file(document):
    targets = re.findall(r"\]\(([^)#\s]+)", re.sub(r"```.*?```", "", read(document), flags=re.DOTALL))
    relative = [target for target in targets if "://" not in target]
    assert [target for target in relative if not (ROOT / document).parent.joinpath(target).exists()] == []


def test_the_two_commands_of_the_readme_stand_alone():
    plain = ["\n".join(block.lines) for block in blocks_of(read("README.md")) if not block.language]
    assert plain == [
        "python -m pip install hatch && hatch run main",
        "python -m pip install hatch && hatch run test",
    ]


@pytest.mark.parametrize("document", ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"])
def test_a_reader_finds_the_document(document):
    assert document in DOCUMENTS


def test_the_tests_named_as_evidence_exist():
    text = read("docs/reliability.md")
    named = re.findall(r"`(test_\w+)\.py::(\w+(?:::\w+)?)`", text)
    assert len(named) == text.count(".py::")
    folder = ROOT / "packages" / "storage" / "tests"
    missing = []
    for module, test in named:
        path = folder / f"{module}.py"
        source = path.read_text(encoding="utf-8") if path.exists() else ""
        if not all(re.search(rf"(def|class) {part}\b", source) for part in test.split("::")):
            missing.append(f"{module}::{test}")
    missing += [test for test in re.findall(r"`StoreTests\.(\w+)`", text) if not hasattr(StoreTests, test)]
    assert named
    assert missing == []


class TestTheChecks:
    def test_a_failing_block_is_told_with_its_line(self, tmp_path):
        text = "# Title\n\n```python\nx = 1\n```\n\n```python\nprint(x)\nraise ValueError(x)\n```\n"
        with pytest.raises(pytest.fail.Exception, match=r"guide\.md, line 9: a block fails"):
            run_document(text, "guide.md", tmp_path)

    def test_what_blocks_print_is_told_apart(self, tmp_path):
        text = "```python\nprint(1)\nprint(2)\n```\n\n```text\n1\n2\n```\n\n```python\n```\n\nwords\n\n```text\n```\n"
        assert run_document(text, "guide.md", tmp_path) == ["1\n2", ""]
        assert promised_output(text) == {0: "1\n2"}
