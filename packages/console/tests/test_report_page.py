"""Reports in a browser: each section, keyboard, light and dark, paper, hostile texts, and a page that is live."""

from __future__ import annotations

from dataclasses import replace

import pytest
from report_browser import CHROMIUM, opened, served, started_browser
from report_records import STARTED, made_record

from functionfuse import workflow
from functionfuse.backends.builtin.localback import LocalWorkflow
from functionfuse.console import write_report
from functionfuse.console._report.view import view_of
from functionfuse.errors import WorkflowFailed
from functionfuse.runs import RunStep
from functionfuse.storage import FileStore

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")


@pytest.fixture(scope="module")
def browser():
    with started_browser() as browser:
        yield browser


def earlier(record):
    """The record of a run before, in which all nodes ran, with another argument."""
    steps = {
        name: replace(
            step,
            state="finished",
            seconds=(step.seconds or 1.0) / 2,
            recipe=f"{step.recipe}-before" if step.arguments else step.recipe,
            arguments={"alpha": "0.1"} if step.arguments else {},
        )
        for name, step in record.steps.items()
    }
    return replace(record, id="20261127-a", steps=steps)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("reports")


@pytest.fixture(scope="module")
def small(folder):
    """The report of 65 nodes, beside the run before."""
    record = made_record(65)
    return write_report(record, folder / "small.html", before=earlier(record))


@pytest.fixture(scope="module")
def large(folder):
    return write_report(made_record(2000), folder / "large.html")


@pytest.fixture(scope="module")
def hostile(folder):
    return write_report(made_record(65, hostile=True), folder / "hostile.html")


@pytest.fixture
def page(browser, small):
    with opened(browser, small) as page:
        yield page


def texts(locator):
    """Texts of elements as they are seen, on one line each."""
    return [" ".join(text.split()) for text in locator.all_inner_texts()]


def first_names(page, count):
    return texts(page.locator("#nodes tbody tr:not(.space) td:nth-child(2)"))[:count]


@workflow
def count_words(text):
    print("\x1b[32mcounting\x1b[0m", text)
    return len(text.split())


@workflow
def ratio(a, b):
    return a / b


def test_a_run_with_a_store_has_a_report(browser, tmp_path):
    store = FileStore(str(tmp_path / "store"))
    words, none = count_words("two words").set_name("words"), count_words("").set_name("none")
    run = LocalWorkflow(ratio(words, none).set_name("ratio"), words, workflow_name="texts")
    run.set_storage(store)
    with pytest.raises(WorkflowFailed):
        run.run(on_error="continue")
    with opened(browser, write_report(store.run("latest"), tmp_path / "r.html")) as page:
        assert page.title() == "texts: failed"
        assert texts(page.locator("#failures summary"))[0].startswith("ratio ZeroDivisionError")
        assert texts(page.locator("#results h3")) == ["ratio", "words"]
        page.locator("#results").get_by_role("button", name="words").click()
        assert "counting two words" in page.locator(".drawer").inner_text()
        assert "\x1b" not in page.content()


def test_the_head_and_the_cards_say_how_it_went(page):
    assert page.locator(".badge").inner_text() == "failed"
    assert texts(page.locator(".legend button")) == ["39 finished", "24 reused", "1 failed", "1 skipped"]
    labels, figures = texts(page.locator(".card .label:first-child")), texts(page.locator(".card .figure"))
    assert labels == [
        "Wall time",
        "Work",
        "Saved by reuse",
        "Slowest node",
        "Most memory",
        "Before the first node",
    ]
    assert (figures[2], figures[5]) == ("12 s", "2.5 s")
    assert "planning, starting the engine" in texts(page.locator(".card"))[-1]


def test_failures_have_their_error_arguments_and_output(page):
    opened_one = page.locator("#failures details[open]")
    assert "ValueError: input X contains NaN" in opened_one.locator("summary").inner_text()
    text = opened_one.inner_text()
    assert [part for part in ("models.py:41 in fit", "alpha", "12 rows with missing values") if part not in text] == []
    assert "33m" not in text


def test_results_have_previews(page):
    results = page.locator("#results")
    assert texts(results.locator(".label")) == [
        "pandas.DataFrame · 3 x 3 · 430 KB",
        "numpy.ndarray · 10 x 16 · 1.77 MB",
    ]
    assert "svm 0.984 0.972 0.961" in texts(results)[0]
    image = results.locator("img")
    assert image.get_attribute("alt") == "preview of the result of figure"
    assert image.evaluate("e => [e.naturalWidth, e.naturalHeight]") == [320, 200]


def test_what_changed_stands_beside_the_run_before(page):
    text = texts(page.locator("#changes"))[0]
    for part in (
        "an input changed 22 nodes",
        "Where it begins argument alpha: 0.1 -> 0.2 27 nodes",
        "20261127-a 65 0 0 0",
    ):
        assert part in text
    assert page.locator("#changes").get_by_role("button").count() == 5


def test_the_graph_lights_up_what_a_node_is_made_from_and_what_is_made_from_it(page):
    node = page.locator('#graph .node[aria-label^="set0/model004-fit:"]')
    node.click()
    lit = page.locator("#graph .node:not(.dim)")
    assert sorted(lit.locator("text").all_text_contents()) == sorted(
        ["set0/load", "set0/clean", "set0/model004-fit", "set0/model004-score", "set0/ranking", "comparison", "figure"]
    )
    assert page.locator("#graph .edge.lit").count() == 7
    assert page.locator(".drawer h2").inner_text() == "set0/model004-fit"
    page.keyboard.press("Escape")
    assert (page.locator(".drawer").is_hidden(), page.locator("#graph .dim").count()) == (True, 0)


def test_boxes_of_the_graph_do_not_overlap_and_edges_lead_to_the_right(page):
    boxes = page.evaluate(
        "[...document.querySelectorAll('#graph .node')].map(n => [...n.getAttribute('transform').match(/[-.0-9]+/g)]"
        ".map(Number).concat(+n.firstChild.getAttribute('width')))"
    )
    overlaps = [
        (a, b) for a in boxes for b in boxes if a is not b and abs(a[1] - b[1]) < 22 and a[0] <= b[0] < a[0] + a[2]
    ]
    assert (len(boxes), overlaps) == (65, [])
    ends = page.evaluate(
        "[...document.querySelectorAll('#graph .edge')].map(e => [e.getPointAtLength(0).x, e.getPointAtLength(1e6).x])"
    )
    assert (len(ends), [end for end in ends if end[0] >= end[1]]) == (115, [])


def test_a_graph_is_grouped_by_function_or_by_name_prefix(page):
    graph = page.locator("#graph")
    graph.get_by_role("button", name="By function").click()
    assert graph.locator(".title").all_text_contents() == ["load", "clean", "fit", "score", "rank", "collect", "plot"]
    graph.get_by_role("button", name="By name prefix").click()
    assert graph.locator(".title").all_text_contents() == ["set0", "set1", "set2", "(no prefix)"]


def test_a_large_graph_has_a_square_for_each_node(browser, large):
    with opened(browser, large) as page:
        paths = page.locator("#graph .squares").evaluate_all("paths => paths.map(path => path.getAttribute('d'))")
        assert sum(path.count("M") for path in paths) == len(made_record(2000).steps)
        frame = page.locator("#graph .group .frame").first
        frame.scroll_into_view_if_needed()
        box, width = frame.bounding_box(), float(frame.get_attribute("width"))
        page.mouse.click(*(box[side] + box["width"] / width * at for side, at in (("x", 15), ("y", 49))))
        assert page.locator(".drawer h2").inner_text() == "set0/load"
        page.locator("#graph .links .around").wait_for(state="attached")
        page.locator("#graph").get_by_role("button", name="Nodes").click()
        assert "nearest relatives of set" in page.locator("#graph .note").inner_text()
        assert 1 < page.locator("#graph .node").count() <= 120


def test_the_graph_moves_and_zooms_by_keyboard_and_mouse(page):
    drawing, viewport = page.locator("#graph .drawing"), page.locator("#graph .viewport")

    def place():
        return drawing.evaluate("e => [e.style.transform, e.style.width]")

    fitted = place()
    viewport.focus()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("+")
    moved = place()
    assert (moved[0] == fitted[0], moved[1] == fitted[1]) == (False, False)
    page.keyboard.press("0")
    assert place() == fitted
    box = viewport.bounding_box()
    page.mouse.move(box["x"] + 5, box["y"] + 100)
    page.mouse.down()
    page.mouse.move(box["x"] + 105, box["y"] + 130)
    page.mouse.up()
    assert (place()[0] == fitted[0], page.locator(".drawer").is_hidden()) == (False, True)


def test_the_timeline_shows_workers_load_and_the_time_before_the_first_node(page):
    timeline = page.locator("#timeline")
    shown = timeline.locator("svg.time > text").all_text_contents()
    assert (shown[0].endswith("at once"), len([text for text in shown if text.startswith("process")])) == (True, 8)
    assert "planning, starting the engine" in timeline.locator(".key").inner_text()
    timeline.get_by_role("button", name="By state").click()
    assert texts(timeline.locator(".key span bdi")) == ["finished", "failed"]


def test_a_bar_of_the_timeline_opens_its_node(page):
    page.locator("#timeline path.failed").scroll_into_view_if_needed()
    page.locator("#timeline path.failed").click()
    assert page.locator(".drawer h2").inner_text() == "set0/model004-fit"
    page.locator("#timeline .around").wait_for(state="attached")


def test_functions_have_plots_of_time_and_memory(page):
    functions = page.locator("#functions")
    assert texts(functions.locator("td.name")) == ["fit", "score", "rank", "collect", "plot", "load", "clean"]
    assert functions.locator("tbody tr").first.locator("svg.box").count() == 2
    assert functions.locator("svg.box").first.get_attribute("aria-label").startswith("least ")
    functions.get_by_role("button", name="By name prefix").click()
    assert sorted(texts(functions.locator("td.name"))) == ["(no prefix)", "set0", "set1", "set2"]


def test_nodes_are_sorted_by_their_columns(page):
    header = page.locator("#nodes th", has_text="took")
    header.get_by_role("button").click()
    assert header.get_attribute("aria-sort") == "descending"
    slowest = page.locator(".card", has_text="Slowest node").locator("bdi").inner_text()
    assert first_names(page, 1) == [slowest]
    header.get_by_role("button").click()
    assert (header.get_attribute("aria-sort"), first_names(page, 1) == [slowest]) == ("ascending", False)
    header.get_by_role("button").click()
    assert (header.get_attribute("aria-sort"), first_names(page, 1)) == (None, ["set0/load"])


def test_nodes_are_filtered_by_text_and_by_state(page):
    page.keyboard.press("/")
    page.keyboard.type("MODEL004")
    assert first_names(page, 9) == [f"set{s}/model004-{what}" for s in range(3) for what in ("fit", "score")]
    page.get_by_label("Filter the nodes by state").select_option("failed")
    assert (first_names(page, 9), page.locator("#nodes .note").inner_text()) == (["set0/model004-fit"], "1 of 65")
    page.locator(".legend button", has_text="skipped").click()
    assert first_names(page, 9) == ["set0/model004-score"]


def test_nodes_are_read_and_opened_by_keyboard(browser, large):
    with opened(browser, large) as page:
        page.locator("#nodes .grid").focus()
        for key in ("ArrowDown", "ArrowDown", "Enter"):
            page.keyboard.press(key)
        assert page.locator(".drawer h2").inner_text() == "set0/clean"
        page.keyboard.press("Escape")
        assert page.evaluate("document.activeElement.textContent") == "set0/clean"
        page.keyboard.press("End")
        assert page.evaluate("document.activeElement.textContent") == "figure"
        assert page.locator("#nodes tbody tr").count() < 60


def test_links_lead_from_a_node_to_its_parents_and_children(page):
    page.locator("#nodes").get_by_role("button", name="set0/clean").click()
    drawer = page.locator(".drawer")
    assert drawer.locator("h3", has_text="Goes into").inner_text() == "Goes into (18)"
    drawer.get_by_role("button", name="set0/load").click()
    assert drawer.locator("h2").inner_text() == "set0/load"


def test_light_and_dark_follow_the_system_and_the_button(browser, small):
    back = "getComputedStyle(document.body).backgroundColor"
    with opened(browser, small, color_scheme="dark") as page:
        dark = page.evaluate(back)
        page.get_by_role("button", name="Light").click()
        light = page.evaluate(back)
        assert (dark, light) == ("rgb(14, 19, 24)", "rgb(246, 247, 249)")
        page.get_by_role("button", name="Dark").click()
        assert page.evaluate(back) == dark


def test_on_paper_all_is_light_and_rows_do_not_scroll(browser, small):
    with opened(browser, small, color_scheme="dark") as page:
        page.emulate_media(media="print")
        page.locator("#nodes tbody tr").nth(64).wait_for()
        assert (page.locator("#nodes tbody tr").count(), page.locator("nav").is_visible()) == (65, False)
        assert page.evaluate("getComputedStyle(document.body).color") == "rgb(23, 33, 43)"
        assert page.pdf(format="A4")[:5] == b"%PDF-"


def test_on_paper_a_long_table_ends_with_how_long_it_is(browser, large):
    with opened(browser, large) as page:
        page.emulate_media(media="print")
        page.locator("#nodes .printed").wait_for()
        assert (
            page.locator("#nodes .printed").inner_text() == f"The first 300 of {len(made_record(2000).steps):,} nodes."
        )


def test_hostile_texts_are_shown_and_do_nothing(browser, hostile):
    with opened(browser, hostile) as page:
        assert page.locator("h1").inner_text() == "</script><script>document.title='owned'</script>"
        assert "owned" in page.title()  # as a text of the title, which is the name of the workflow
        assert page.locator("main script, main a, main [onerror], main svg[onload]").count() == 0
        assert "⟨202E⟩evil⟨202C⟩ name" in page.locator("#nodes").inner_text()
        for row in range(12):
            page.locator("#nodes tbody tr:not(.space) button").nth(row).click()
        assert page.locator(".drawer").evaluate("e => e.scrollWidth <= e.clientWidth")
        page.keyboard.press("Escape")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert [url for url in page.requested if not url.startswith("data:")] == [f"file://{hostile}"]


def test_a_narrow_page_does_not_scroll_sideways(browser, small):
    with opened(browser, small) as page:
        page.set_viewport_size({"width": 390, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_nothing_but_the_file_is_loaded(browser, small):
    with opened(browser, small) as page:
        page.locator("#graph .node").first.click()
        assert [url for url in page.requested if not url.startswith("data:")] == [f"file://{small}"]


def test_the_summary_is_there_without_javascript(browser, small):
    with opened(browser, small, java_script_enabled=False) as page:
        text = page.locator("main").inner_text()
        counts = "39 finished, 24 reused, 1 failed, 1 skipped"
        for part in (counts, "input X contains NaN", "numpy.ndarray 10 x 16", "scikit-learn 1.9.1"):
            assert part in text


@pytest.mark.parametrize(
    "scheme", ["light", pytest.param("dark", marks=pytest.mark.slow(reason="axe takes seconds for a page"))]
)
def test_axe_finds_nothing(browser, small, scheme):
    assert axe_findings(browser, small, color_scheme=scheme) == []


@pytest.mark.slow(reason="axe looks at long texts for long")
def test_axe_finds_nothing_in_hostile_texts_and_squares(browser, hostile, large):
    assert axe_findings(browser, hostile) + axe_findings(browser, large) == []


def axe_findings(browser, file, **settings):
    """What axe-core finds on a page with a node that is chosen."""
    from axe_playwright_python.sync_playwright import Axe

    with opened(browser, file, reduced_motion="reduce", **settings) as page:
        page.locator("#nodes tbody button").nth(2).click()
        found = Axe().run(page).response["violations"]
        return [(each["id"], each["nodes"][0]["html"][:300]) for each in found]


def live_views():
    """Views of a run that goes on: a dynamic node returns another one, which fails."""
    running = replace(made_record(20), state="running", ended=STARTED + 1, steps={}, wanted=("fan",), environment={})
    fan = RunStep("fan", function="fan", state="running", started=STARTED + 0.5)
    child = RunStep("fan/child", function="fit", state="not run")
    failed = replace(
        child, state="failed", started=STARTED + 1, seconds=2.0, error="node 'fan/child' failed: ValueError: x"
    )
    yield replace(running, steps={"fan": fan})
    yield replace(running, ended=STARTED + 2, steps={"fan": fan, "fan/child": child})
    fan = replace(fan, state="finished", seconds=2.5, size=100, memory=1 << 20)
    yield replace(running, state="failed", ended=STARTED + 4, steps={"fan": fan, "fan/child": failed})


def test_a_live_page_shows_all_that_changes(browser):
    with served([view_of(record) for record in live_views()]) as (address, send), opened(browser, address) as page:
        assert (page.locator(".badge").inner_text(), page.locator("#failures").is_hidden()) == ("running", True)
        page.locator("#graph .node").click()
        send()
        page.locator('#graph .node[aria-label="fan/child: not run"]').wait_for()
        assert texts(page.locator(".legend button")) == ["1 running", "1 not run"]
        assert "fan/child" in page.locator(".drawer").inner_text()
        send()
        page.locator(".badge.failed").wait_for()
        assert texts(page.locator("#failures summary")) == ["fan/child ValueError: x"]
        assert page.locator("#timeline .note").inner_text() == "2 nodes on 1 worker"
        assert texts(page.locator("#functions td.name")) == ["fit", "fan"]
        assert texts(page.locator("#nodes tbody td:nth-child(1)")) == ["finished", "failed"]
        assert "100 B" in page.locator("#results").inner_text()
        assert page.locator("#timeline path.failed").count() == 1
        assert "finished" in page.locator(".drawer").inner_text()
        assert all(url.startswith((address, "data:")) for url in page.requested)


@pytest.mark.slow(reason="a report of 100,000 nodes takes 10 seconds to write and draw on a busy machine")
def test_a_report_of_100_000_nodes_opens(browser, tmp_path):
    record = made_record(100_000)
    with opened(browser, write_report(record, tmp_path / "r.html")) as page:
        assert page.locator("#nodes .note").inner_text() == f"{len(record.steps):,}"
        assert page.locator("#graph .group").count() == 7
