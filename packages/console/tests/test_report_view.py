"""What is written into a report, and what a live page is sent."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace

import pytest
from report_records import HOSTILE, STARTED, made_record

from functionfuse.console import write_report
from functionfuse.console._report.changes import changes_of
from functionfuse.console._report.packing import packed
from functionfuse.console._report.page import page_of
from functionfuse.console._report.texts import plain_output, visible
from functionfuse.console._report.view import view_of
from functionfuse.runs import RunRecord, RunStep


def record_of(*steps, **facts):
    """The record of a run of some steps, which took 2 seconds."""
    known = {"id": "r1", "workflow": "w", "state": "finished", "started": STARTED, "ended": STARTED + 2}
    return RunRecord(**(known | facts), steps={step.name: step for step in steps})


def data_in(html):
    """The view that stands in a page."""
    return json.loads(re.search(r'<script type="application/json" id="view">(.*?)</script>', html, re.DOTALL)[1])


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("\u202eevil", "⟨202E⟩evil"),
        ("a\0b", "a⟨0000⟩b"),
        ("lone \ud800", "lone \ufffd"),
        ("two\nlines\tand a tab", "two\nlines\tand a tab"),
        ("narrow\u202fspace", "narrow\u202fspace"),
        ("\x1b[31mred", "⟨001B⟩[31mred"),
    ],
)
def test_what_is_invisible_is_shown(text, shown):
    assert visible(text) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x9b2Jtext", "text"),
        ("10%\r20%\r\nend", "10%\n20%\nend"),
        ("\x1b", "⟨001B⟩"),
    ],
)
def test_output_is_shown_without_escape_sequences(text, shown):
    assert plain_output(text) == shown


def test_nodes_are_columns():
    load = RunStep("load", state="finished", started=STARTED + 0.5, seconds=0.25, host="far", process=7)
    fit = RunStep("fit", state="reused", needs=("load", "elsewhere"), arguments={"a": "1"}, attempts=2)
    nodes = view_of(record_of(load, fit))["nodes"]
    assert {
        name: nodes[name]
        for name in ("name", "state", "needs", "started", "seconds", "worker", "arguments", "attempts")
    } == {
        "name": ["load", "fit"],
        "state": ["finished", "reused"],
        "needs": [[], [0]],
        "started": [0.5, None],
        "seconds": [0.25, None],
        "worker": ["far process 7", ""],
        "arguments": [[], [["a", "1"]]],
        "attempts": [1, 2],
    }


def test_nodes_of_a_dynamic_graph_come_after_the_one_that_returned_them():
    view = view_of(record_of(RunStep("fan"), RunStep("fan/a"), RunStep("fan/b", needs=("fan/a",))))
    assert view["nodes"]["needs"] == [[], [0], [1, 0]]


def test_the_only_host_is_not_repeated_for_each_worker():
    step = RunStep("a", state="finished", host="here", process=7)
    assert view_of(record_of(step, environment={"host": "here"}))["nodes"]["worker"] == ["process 7"]


def test_times_of_the_run_before_and_what_changed_stand_beside_those_of_this_one():
    old, new = (
        record_of(
            RunStep("a", state="finished", recipe=recipe, parts={"arguments": recipe}, arguments={"lr": lr}, seconds=3),
            RunStep("b", state="finished", needs=("a",), recipe=recipe, parts={"inputs": recipe}, seconds=1),
            id=recipe,
        )
        for recipe, lr in (("r1", "0.1"), ("r2", "0.2"))
    )
    view = view_of(new, old)
    assert (view["nodes"]["before"], view["begins"], view["run"]["previous"]) == (
        [3, 1],
        [["argument lr: 0.1 -> 0.2", 1]],
        {"id": "r1", "seconds": 2.0, "counts": {"finished": 2}},
    )


def test_a_run_that_was_interrupted_takes_as_long_as_is_known():
    step = RunStep("a", state="finished", started=STARTED + 1, seconds=4)
    assert view_of(record_of(step, state="interrupted", ended=None))["run"]["seconds"] == 5


def test_a_run_without_steps_has_a_report(tmp_path):
    assert write_report(record_of(), tmp_path / "r.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


@pytest.mark.parametrize("record", [None, "latest"])
def test_what_is_no_record_is_refused(tmp_path, record):
    with pytest.raises(TypeError, match="run is the record of a run"):
        write_report(record, tmp_path / "r.html")


def test_what_is_no_record_of_a_run_before_is_refused(tmp_path):
    with pytest.raises(TypeError, match=r"before is the record of a run, .* got 'latest'"):
        write_report(record_of(), tmp_path / "r.html", before="latest")


def test_columns_are_packed_by_what_occurs_in_them():
    columns = {"same": [None, None], "texts": ["a", "b", "a", "a", "b"], "numbers": [1, 2, 1], "names": ["a", "b"]}
    assert packed(columns) == {
        "same": {"same": None},
        "texts": {"values": ["a", "b"], "index": [0, 1, 0, 0, 1]},
        "numbers": [1, 2, 1],
        "names": ["a", "b"],
    }


def test_equal_views_have_no_changes():
    record = made_record(20)
    assert changes_of(view_of(record), view_of(record)) == {}


def test_changes_are_the_values_that_differ_and_new_nodes_whole():
    ran = RunStep("a", state="running", started=STARTED)
    before = view_of(record_of(ran))
    view = view_of(record_of(replace(ran, state="finished", seconds=1.5), RunStep("a/b", state="not run")))
    changes = changes_of(before, view)
    assert changes["count"] == 2
    assert (changes["nodes"]["state"], changes["nodes"]["seconds"]) == (
        {0: "finished", 1: "not run"},
        {0: 1.5, 1: None},
    )
    assert (changes["nodes"]["name"], "run" in changes) == ({1: "a/b"}, False)


def test_no_text_ends_the_script_that_it_stands_in():
    html, _ = page_of(view_of(made_record(65, hostile=True)))
    data = data_in(html)
    assert HOSTILE[0] in data["nodes"]["name"]
    assert html.count("</script>") == 2
    assert html.encode("utf-8")


def test_a_page_runs_and_styles_only_what_it_was_made_with():
    html, policy = page_of(view_of(made_record(20)))
    script = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    style = re.findall(r"<style>(.*?)</style>", html, re.DOTALL)
    digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (*script, *style)]
    assert sorted(policy.split("; ")) == sorted(
        [
            "default-src 'none'",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
            f"script-src 'sha256-{digests[0]}'",
            f"style-src 'sha256-{digests[1]}'",
        ]
    )
    assert f'content="{policy}"' in html


def test_only_a_live_page_may_connect_and_to_its_server():
    _, policy = page_of(view_of(made_record(20)), live="/changes")
    assert policy.endswith("connect-src 'self'")
