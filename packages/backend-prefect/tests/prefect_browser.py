"""A page of the dashboard, as headless Chromium shows it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
WEBGL = ["--enable-unsafe-swiftshader", "--use-gl=angle", "--use-angle=swiftshader"]  # the graph is drawn with it


def opened(url, folder, *options, seconds=20):
    """Open a page, give its scripts time, and return what Chromium prints."""
    command = [
        CHROMIUM,
        "--headless=new",
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--disable-background-networking",
        "--hide-scrollbars",
        f"--user-data-dir={folder / 'profile'}",
        f"--virtual-time-budget={seconds * 1000}",
        "--window-size=1400,1000",
        *WEBGL,
        *options,
        url,
    ]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return ended.stdout


def text_of(url, folder):
    """The page as it is when its scripts have run."""
    return opened(url, folder, "--dump-dom")


def screenshot(url, folder, name="page.png", seconds=20):
    """Make a picture of the page, and return its path."""
    path = Path(folder) / name
    opened(url, folder, f"--screenshot={path}", seconds=seconds)
    return path
