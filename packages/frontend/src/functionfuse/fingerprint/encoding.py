"""How values are written into a digest: so that no two of them write the same bytes."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Out = Callable[[Any], object]  # takes bytes, or a buffer


class Unfingerprintable(Exception):  # noqa: N818  not an error for the user: it means "do not reuse"
    """A value has no fingerprint; the message says which and why."""


def label(kind: str, *texts: str) -> bytes:
    """Return words in a form that no other words have.

    Args:
        kind: what is described; no other kind starts with it and a space.
        texts: of it, always as many for a kind.
    """
    lengths = ",".join(str(len(text)) for text in texts)
    return f"{kind} {lengths}:{''.join(texts)}".encode("utf-8", "surrogatepass")


def names_of(code: Any) -> tuple[str, str]:
    """Return the module and the qualified name of a function or class."""
    return code.__module__ or "", code.__qualname__


def attribute_of(value: Any, name: str) -> Any:
    """Return an attribute; None where asking for it fails.

    Args:
        value: an object of any class.
        name: of the attribute.
    """
    try:
        return getattr(value, name, None)
    except Exception:
        return None


def text_of(error: Exception) -> str:
    """Return an error's type and message, also where the message cannot be had."""
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:
        return type(error).__name__


def short(value: object) -> str:
    """Return words for an object, by its type alone."""
    return f"a {type(value).__module__}.{type(value).__qualname__}"


@contextmanager
def blamed(where: str) -> Iterator[None]:
    """Context: whatever goes wrong while something is described means that it has no fingerprint, and says where."""
    try:
        yield
    except Unfingerprintable as error:
        raise Unfingerprintable(f"{where}: {error}") from None
    except RecursionError:
        raise
    except Exception as error:
        raise Unfingerprintable(f"{where}: {text_of(error)}") from None
