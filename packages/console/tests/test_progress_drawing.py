"""How progress looks: lines of a terminal, lines of a log, HTML; whatever is in the names of nodes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from rich.cells import cell_len

from functionfuse.backends.progress import Failure, ProgressSnapshot, RunningCall
from functionfuse.console._progress import plain
from functionfuse.console._progress.drawing import ASCII, cut, failure_line, lines_of, outcome_of
from functionfuse.console._progress.page import html_of
from functionfuse.console._progress.words import duration

HOSTILE = "a\x1b[2Jb\r\n\u202ec<script>\x07" + "x" * 300
RUNNING = ProgressSnapshot(
    "comparison",
    "running",
    started=100.0,
    now=102.4,
    total=61,
    finished=31,
    failed=1,
    running=[RunningCall("model032", 102.0, 0.3), RunningCall("model033", 102.2)],
    submitted=7,
    failures=[Failure("model017", "ValueError: Input X contains NaN")],
    left=3.1,
)


def shown(snapshot, width, rows=6):
    return [line.plain for line in lines_of(snapshot, width, rows)]


def test_wide():
    assert shown(RUNNING, 100) == [
        "comparison ━━━━━━━━━━━━━━━━━━━━━───────────────────  52 %  2.4 s  about 3.1 s left",
        "  ✓ 31 finished  ✕ 1 failed  ▸ 2 running  7 submitted  20 waiting",
        "  ▸ model032  0.4 s of about 0.3 s",
        "  ▸ model033  0.2 s",
    ]


def test_narrow():
    lines = shown(RUNNING, 43)
    assert max(map(cell_len, lines)) <= 43
    assert lines[0].endswith("  52 %  2.4 s")
    assert lines[1] == "  ✓ 31 finished  ✕ 1 failed  ▸ 2 running"


def test_more_calls_than_rows():
    many = replace(RUNNING, running=[RunningCall(f"n{number}", 102.0) for number in range(9)])
    assert shown(many, 80)[2:] == ["  ▸ n0  0.4 s", "  ▸ n1  0.4 s", "  ▸ n2  0.4 s", "    and 6 more"]


def test_before_the_first_call():
    assert shown(ProgressSnapshot("w", "running", 0.0, 9.0), 80) == ["w  planning  9.0 s"]
    (bar, _) = shown(ProgressSnapshot("w", "running", 0.0, 9.0, total=5, reused=2), 80)
    assert bar.endswith("9.0 s  starting")


def test_the_outcome():
    ended = replace(RUNNING, state="failed", running=(), submitted=0, finished=40, skipped=3, failures=())
    assert outcome_of(ended, 80).plain == (
        "comparison failed in 2.4 s  ✓ 40 finished  ✕ 1 failed  ⊘ 3 skipped  17 not run"
    )
    assert plain.line_for(ended) == "comparison: failed in 2.4 s, 40 finished, 1 failed, 3 skipped, 17 not run"


def test_lines_of_a_log():
    assert plain.line_for(RUNNING) == (
        "comparison: 32 of 61, 31 finished, 1 failed, 2 running, 7 submitted, 20 waiting, 2.4 s, about 3.1 s left"
    )
    assert plain.failure_line(RUNNING.failures[0]) == "failed model017: ValueError: Input X contains NaN"
    assert [plain.gap_after(seconds) for seconds in (0, 60, 3600)] == [1.0, 10.0, 60.0]


@pytest.mark.parametrize("width", [30, 43, 200])
def test_hostile_names_on_a_terminal(width):
    hostile = replace(RUNNING, workflow=HOSTILE, running=[RunningCall(HOSTILE, 102.0)])
    lines = [*shown(hostile, width), failure_line(Failure(HOSTILE, HOSTILE), width).plain]
    lines.append(outcome_of(hostile, width).plain)
    assert all(line.isprintable() for line in lines)
    assert max(map(cell_len, lines)) <= width


def test_hostile_names_in_a_notebook_and_a_log():
    hostile = replace(RUNNING, workflow=HOSTILE, failures=[Failure(HOSTILE, HOSTILE)])
    page = html_of(hostile)
    assert "<script>" not in page
    assert "\u202e" not in page
    assert plain.line_for(hostile).isprintable()


def test_wide_characters_take_two_columns():
    assert cut("日本語のノード名", 9) == "日本…ド名"
    assert cell_len(cut("日本語のノード名", 8)) <= 8


def test_ascii():
    assert all(line.plain.isascii() for line in lines_of(RUNNING, 80, 6, ASCII))


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.04, "0.0 s"), (9.94, "9.9 s"), (59.4, "59 s"), (61, "1:01"), (3725, "1:02:05")]
)
def test_durations(seconds, text):
    assert duration(seconds) == text
