"""The table of docs/typing.md, and the comments that `hatch run check` compares with what checkers say."""

from __future__ import annotations

import runpy

import pytest
from check_types import MISUSE, ROOT, WRONG_IN_DOCUMENTS, cases, sources, table


def test_the_document_has_the_table():
    assert table(MISUSE.read_text(encoding="utf-8")) in (ROOT / "docs" / "typing.md").read_text(encoding="utf-8")


def test_comments_say_which_checkers_report_a_line():
    (first, second) = cases('x = 1\nf("x")  # mypy pyright: a text\ng(#)  # -: nothing\n# mypy: strict\n')
    assert first == (2, 'f("x")', {"mypy", "pyright"}, "a text")
    assert second == (3, "g(#)", set(), "nothing")


def test_wrong_lines_of_documents_are_found():
    for document, wrong in WRONG_IN_DOCUMENTS.items():
        _, expected = sources()[document.replace("/", "_").replace(".md", "_md.py")]
        assert len(expected) == sum(len(checkers.split()) for checkers in wrong.values())


@pytest.mark.parametrize("name", ["functions.py", "classes.py", "backends.py"])
def test_right_lines_are_expected_to_pass(name):
    assert sources()[name][1] == set()


@pytest.mark.parametrize("name", ["functions.py", "classes.py"])
def test_right_lines_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(ROOT / "tests" / "typed" / name))
