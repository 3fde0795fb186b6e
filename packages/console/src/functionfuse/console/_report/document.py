"""HTML documents that load nothing and run only the script that they were made with."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from html import escape
from importlib.resources import files

_ICON = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 24 24'%3E%3Cg fill='none' "
    "stroke='%235a6b7b' stroke-width='2.5'%3E%3Cpath d='M5 6h5l4 6h5M5 18h5l4-6'/%3E%3C/g%3E%3Ccircle cx='5' cy='6' "
    "r='3' fill='%2323896b'/%3E%3Ccircle cx='5' cy='18' r='3' fill='%237795d8'/%3E%3Ccircle cx='19' cy='12' r='3.5' "
    "fill='%23e08a1e'/%3E%3C/svg%3E"
)


@cache
def asset(name: str) -> str:
    """Return the text of a file beside this module.

    Args:
        name: of the file.
    """
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def document_of(
    title: str, body: str, *, script: str = "", style: str = "", connects: bool = False, submits: bool = False
) -> tuple[str, str]:
    """Return an HTML document, and its content security policy, which stands in it too.

    Args:
        title: a text.
        body: HTML, with user's texts escaped.
        script: JavaScript that runs once the body is there.
        style: the style sheet; that of reports without one.
        connects: whether it may connect to the server that it comes from.
        submits: whether its forms lead to that server.
    """
    style = style or asset("report.css")
    rules = ["default-src 'none'", "img-src data:", "base-uri 'none'"]
    rules += ["form-action 'self'" if submits else "form-action 'none'"]
    rules += [f"style-src {_source(style)}"]
    rules += [f"script-src {_source(script)}"] if script else []
    rules += ["connect-src 'self'"] if connects else []
    policy = "; ".join(rules)
    html = (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="referrer" content="no-referrer">\n'
        f'<title>{escape(title)}</title>\n<link rel="icon" href="{_ICON}">\n<style>{style}</style>\n</head>\n'
        f"<body>\n{body}\n"
        f"{f'<script>{script}</script>' if script else ''}\n</body>\n</html>\n"
    )
    return html, policy


def _source(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
    return f"'sha256-{digest}'"
