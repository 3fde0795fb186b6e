"""The local page in Chromium: lists, a live run of another process, comparing, hostile names, and accessibility."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from page_project import HOSTILE, run_program, served

from functionfuse.runs import list_runs
from functionfuse.stores import open_store
from functionfuse.testing import wait_until

sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium"),
    pytest.mark.slow(reason="a browser"),
]
OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
OPTIONS += ["--disable-component-update", "--disable-sync"]


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser):
    """A page that makes no mistake, and asks no other server."""
    context = browser.new_context()
    page = context.new_page()
    mistakes, hosts = [], set()
    page.on("pageerror", lambda error: mistakes.append(str(error)))
    page.on("console", lambda message: mistakes.append(message.text) if message.type == "error" else None)
    page.on("request", lambda request: hosts.add(request.url.split("/")[2].split(":")[0]))
    yield page
    context.close()
    assert mistakes == []
    assert hosts <= {"127.0.0.1"}


def violations(page):
    """What axe-core finds."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-core is not installed").Axe()
    return [(one["id"], one["nodes"][0]["html"]) for one in axe.run(page).response["violations"]]


def test_runs_and_a_comparison(page, page_server):
    page.goto(page_server.address)
    assert page.title() == "Runs"
    assert page.locator("#runs tbody tr").count() == 4
    assert page.locator("#runs script, #runs b").count() == 0
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        assert violations(page) == []
    page.get_by_label("Workflow").select_option("training")
    page.get_by_role("button", name="Filter").click()
    assert page.locator("#runs tbody tr").count() == 2
    for box in page.get_by_role("checkbox").all():
        box.check()
    page.get_by_role("button", name="Compare two runs").click()
    assert page.locator("h1").inner_text() == "3 of 3 nodes differ"
    assert "argument count: 3 -> 4" in page.locator("#begins").inner_text()
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        assert violations(page) == []
    page.locator("#compared a").first.click()
    assert "training" in page.locator("h1").inner_text()


def test_hostile_names(page, page_server):
    page.goto(page_server.address)
    page.get_by_label("Workflow").select_option(HOSTILE)
    page.get_by_role("button", name="Filter").click()
    row = page.locator("#runs tbody tr")
    assert row.count() == 1
    assert "<script>" in row.inner_text()
    assert "\u202e" not in row.inner_text()
    row.get_by_role("link").click()
    assert page.title() != "owned"


def test_a_failure_has_a_capsule(page, page_server):
    page.goto(page_server.address)
    page.locator("tr", has_text="failing").get_by_role("link").click()
    page.get_by_role("button", name="Show the node").click()
    with page.expect_download() as download:
        page.locator("a[href*='/capsules/']").first.click()
    assert download.value.suggested_filename == "fit-13.capsule"
    assert Path(download.value.path()).stat().st_size > 1000


def test_a_live_run(page, tmp_path):
    with run_program(tmp_path, "live") as program:
        try:
            results = tmp_path / "results"
            wait_until(lambda: results.exists() and len(list_runs(open_store(str(results)))) == 1)
            with served(tmp_path) as server:
                page.goto(server.address)
                assert page.locator("#live").inner_text() == "Shown live."
                page.locator("#runs a").click()
                wait_until(lambda: "ValueError" in page.locator("#failures").inner_text())
                assert "running" in page.locator("header").first.inner_text().lower()
                (tmp_path / "go").touch()
                wait_until(lambda: "failed" in page.locator("header").first.inner_text().lower())
                text = page.locator("main").inner_text()
                assert "fitting 13" in text
                assert "20" in page.locator("#results").inner_text()
                assert "1 failed" in " ".join(text.split())
        finally:
            program.kill()
