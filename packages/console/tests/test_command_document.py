"""The commands in docs/console.md write what it says."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

DOCUMENT = Path(__file__).parents[3] / "docs" / "console.md"
VARIES = [r"\d{8}T\d{6}-\d+-[0-9a-f]+", r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", r"[\d.]+ m?s\b"]


def without_what_varies(text):
    for pattern in VARIES:
        text = re.sub(pattern, "*", text)
    return [" ".join(line.split()) for line in text.strip().splitlines()]


def commands_of(text):
    """The commands of a document, each with the lines that it writes."""
    for block in re.findall(r"```console\n(.*?)```", text, re.DOTALL):
        for part in re.split(r"^\$ functionfuse ", block, flags=re.MULTILINE)[1:]:
            command, _, written = part.partition("\n")
            yield shlex.split(command), written


@pytest.mark.skipif(not DOCUMENT.exists(), reason="the documents are not beside this package")
def test_its_commands(project):
    text = DOCUMENT.read_text(encoding="utf-8")
    name, source = re.search(r"Save this as `([\w.]+)`:\n\n```python\n(.*?)```", text, re.DOTALL).groups()
    project.write(name, source)
    count = 0
    for arguments, written in commands_of(text):
        out = without_what_varies(project.run(*arguments).out)
        parts = [without_what_varies(part) for part in re.split(r"^\.\.\.\n", written, flags=re.MULTILINE)]
        if len(parts) == 1:
            assert out == parts[0], arguments
        else:
            assert (out[: len(parts[0])], out[-len(parts[-1]) :]) == (parts[0], parts[-1]), arguments
        count += 1
    assert count > 8
