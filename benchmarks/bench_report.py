"""Reports: what it takes to write one, beside plain JSON of the record, and to draw it in a browser.

    python benchmarks/bench_report.py [--nodes 5000] [--rounds 5]

Goals for 5,000 nodes: written within 0.5 s, drawn within 0.5 s after the file was read, 50 frames a second while the
graph is moved. The browser is Chromium of the system, headless; without it, only writing is measured. Drawn means
that the browser has painted all that is in sight; frames are those between requests of animation frames.
"""

from __future__ import annotations

import argparse
import importlib
import json
import shutil
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from _measure import median, show

from functionfuse.console import write_report

if TYPE_CHECKING:
    from functionfuse.runs import RunRecord

TESTS = Path(__file__).parents[1] / "packages" / "console" / "tests"
MOVES = """async () => {
  const viewport = document.querySelector('#graph .viewport'), times = [];
  const moved = key => viewport.dispatchEvent(new KeyboardEvent('keydown', {key}));
  viewport.scrollIntoView();
  moved('+');
  for (let n = 0; n < 120; n++) {
    times.push(await new Promise(requestAnimationFrame));
    moved(n % 40 < 20 ? 'ArrowLeft' : 'ArrowRight');
  }
  return (times.length - 1) / (times.at(-1) - times[0]) * 1000;
}"""
DRAWN = """() => new Promise(done => requestAnimationFrame(() => setTimeout(() =>
  done((performance.now() - performance.getEntriesByType('navigation')[0].responseEnd) / 1000))))"""


def made_record(count: int) -> RunRecord:
    """Return the record that the tests of reports draw."""
    sys.path.append(str(TESTS))
    record: RunRecord = importlib.import_module("report_records").made_record(count)
    return record


def plain_json(record: RunRecord, file: Path) -> None:
    """Write a record as JSON, without previews, which JSON cannot express."""
    data: dict[str, Any] = asdict(record)
    for step in data["steps"].values():
        step["preview"] = None
    file.write_text(json.dumps(data), encoding="utf-8")


def measure_writing(record: RunRecord, folder: Path, rounds: int) -> None:
    """Print what writing a report takes beside plain JSON."""
    report, plain = folder / "report.html", folder / "record.json"
    times = median(
        {"plain JSON": lambda: plain_json(record, plain), "report": lambda: write_report(record, report)}, rounds=rounds
    )
    show(f"write {len(record.steps):,} nodes", times, "plain JSON")
    print(f"  report {report.stat().st_size / 1e6:.2f} MB, plain JSON {plain.stat().st_size / 1e6:.2f} MB")


def measure_drawing(file: Path, rounds: int) -> None:
    """Print how long a browser takes to draw a report, beside an empty page, and frames a second while it moves."""
    from playwright.sync_api import sync_playwright

    empty = file.with_name("empty.html")
    empty.write_text("<!DOCTYPE html><title>empty</title>", encoding="utf-8")
    drawn: dict[str, list[float]] = {"empty page": [], "report": []}
    frames: list[float] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu", "--disable-quic"]
        )
        for _ in range(rounds):
            for name, page_file in (("empty page", empty), ("report", file)):
                page = browser.new_page(viewport={"width": 1280, "height": 900})
                page.goto(page_file.as_uri(), wait_until="commit")
                drawn[name].append(page.evaluate(DRAWN))
                if name == "report":
                    frames.append(page.evaluate(MOVES))
                page.close()
        browser.close()
    middle = {name: sorted(times)[len(times) // 2] for name, times in drawn.items()}
    show("draw in a browser", middle, "empty page")
    print(f"  while the graph moves: {sorted(frames)[len(frames) // 2]:.0f} frames a second")


def main() -> None:
    """Print all figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    record = made_record(arguments.nodes)
    with tempfile.TemporaryDirectory() as folder:
        measure_writing(record, Path(folder), arguments.rounds)
        if shutil.which("chromium") is None:
            print("\nchromium is not installed: drawing is not measured")
        else:
            measure_drawing(Path(folder) / "report.html", arguments.rounds)


if __name__ == "__main__":
    main()
