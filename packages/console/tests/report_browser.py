"""A headless browser that opens reports, and a server that sends changes to a live one."""

from __future__ import annotations

import itertools
import json
import shutil
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from functionfuse.console._report.changes import changes_of
from functionfuse.console._report.page import page_of

CHROMIUM = shutil.which("chromium")
SWITCHES = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@contextmanager
def started_browser():
    """A browser, which ends with the context."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=SWITCHES)
        yield browser
        browser.close()


@contextmanager
def opened(browser, address, **settings):
    """A page with an address or a file; errors of its script fail the test."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, **settings)
    page = context.new_page()
    problems: list[str] = []
    page.requested = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.on("request", lambda request: page.requested.append(request.url))
    page.goto(str(address) if str(address).startswith("http") else f"file://{address}")
    yield page
    context.close()
    assert problems == []


@contextmanager
def served(views):
    """A server of a live page of the first of some views; `send()` sends the changes to the next one."""
    html, policy = page_of(views[0], live="/changes", home="/")
    released = threading.Semaphore(0)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            if self.path != "/changes":
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.send_header("Content-Security-Policy", policy)
                self.end_headers()
                self.wfile.write(html.encode())
                return
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            for before, view in itertools.pairwise(views):
                released.acquire()
                self.wfile.write(f"data: {json.dumps(changes_of(before, view))}\n\n".encode())
                self.wfile.flush()

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/", released.release
    finally:
        released.release(len(views))
        server.shutdown()
        server.server_close()
        thread.join()
