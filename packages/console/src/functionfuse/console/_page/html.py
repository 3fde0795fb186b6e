"""Parts of pages as HTML. Users' texts are escaped, and what is invisible in them is shown."""

from __future__ import annotations

import time
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING

from .._report.document import document_of
from .._report.texts import visible

if TYPE_CHECKING:
    from collections.abc import Iterable

_LONGEST = 120  # characters of a text


def text(value: str) -> str:
    """Return a user's text as HTML, which runs in its own direction, and is cut if it is long.

    Args:
        value: the text.
    """
    shown = visible(value[: _LONGEST + 1])
    return f"<bdi>{escape(shown if len(value) <= _LONGEST else f'{shown[:_LONGEST]}...')}</bdi>"


def attribute(value: str) -> str:
    """Return a user's text as the value of an attribute, with quotes around it.

    Args:
        value: the text.
    """
    return f'"{escape(value.encode("utf-8", "replace").decode())}"'


def table(id: str, caption: str, header: Iterable[tuple[str, str]], rows: Iterable[Iterable[str]]) -> str:
    """Return a table.

    Args:
        id: of the element.
        caption: what it shows, for readers that do not see it.
        header: of each column its title, and the class of its cells.
        rows: cells as HTML.
    """
    header = list(header)
    head = "".join(f'<th scope="col" class="{kind}">{title}</th>' if title else "<td></td>" for title, kind in header)
    body = "".join(f"<tr>{_cells(row, header)}</tr>" for row in rows)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{caption}"><table id="{id}">'
        f'<caption class="unseen">{caption}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def _cells(row: Iterable[str], header: Iterable[tuple[str, str]]) -> str:
    return "".join(f'<td class="{kind}">{cell}</td>' for cell, (_, kind) in zip(row, header, strict=True))


def page(title: str, body: str, *, script: str = "", submits: bool = False) -> tuple[str, str]:
    """Return a page, and its content security policy.

    Args:
        title: a text.
        body: HTML.
        script: JavaScript.
        submits: whether it has forms.
    """
    name = '<span class="mark" aria-hidden="true"></span>Function Fuse'
    whole = f'<header class="bar"><a href="/">{name}</a></header><main>{body}</main>'
    return document_of(title, whole, style=asset("page.css"), script=script, connects=bool(script), submits=submits)


def asset(name: str) -> str:
    """Return the text of a file beside this module.

    Args:
        name: of the file.
    """
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def date(seconds: float) -> str:
    """Return a time as a text.

    Args:
        seconds: since the epoch.
    """
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def duration(seconds: float | None) -> str:
    """Return a duration as a text; an empty one for None.

    Args:
        seconds: how long something took.
    """
    if seconds is None:
        return ""
    if seconds < 60:
        return f"{1000 * seconds:.3g} ms" if seconds < 1 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
