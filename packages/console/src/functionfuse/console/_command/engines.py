"""Backends, which installed packages declare as entry points `functionfuse.backends`, and executors."""

from __future__ import annotations

import inspect
from contextlib import contextmanager
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any

from functionfuse._suggestions import did_you_mean

from .exit_codes import REFUSED, USAGE, Failure

if TYPE_CHECKING:
    from collections.abc import Iterator

GROUP = "functionfuse.backends"
_DISTRIBUTIONS = {
    "durable": "functionfuse-backend-ray",
    **{name: f"functionfuse-backend-{name}" for name in ("kfp", "local", "prefect", "ray")},
    "graph": "functionfuse-backend-local",
}


def backends() -> dict[str, EntryPoint]:
    """Return the backends of installed packages, by name."""
    return {one.name: one for one in sorted(entry_points(group=GROUP), key=lambda one: one.name)}


def backend_class(name: str) -> Any:
    """Return the class of a backend.

    Raises:
        Failure: it is not installed, or cannot be imported.
    """
    known = backends()
    if name not in known:
        remedy = f": pip install {_DISTRIBUTIONS[name]}" if name in _DISTRIBUTIONS else did_you_mean(name, known)
        listed = ", ".join(known) or "none"
        raise Failure(USAGE, f"no backend {name!r} is installed (installed: {listed}){remedy}")
    try:
        found = known[name].load()
    except ImportError as error:
        raise Failure(REFUSED, f"backend {name!r} cannot be imported: {error}") from error
    return found


@contextmanager
def executor(text: str, workers: int | None) -> Iterator[Any]:
    """Start an executor, and stop it at the end.

    Args:
        text: "threads", "processes", or `module:name` of what is called without arguments and returns an executor.
        workers: of threads and processes; None for as many as they choose.

    Raises:
        Failure: there is none of this name.
    """
    import concurrent.futures

    if text in ("threads", "processes"):
        kind = concurrent.futures.ThreadPoolExecutor if text == "threads" else concurrent.futures.ProcessPoolExecutor
        with kind(workers) as pool:
            yield pool
        return
    if workers is not None:
        raise Failure(USAGE, f"--workers is of threads and processes; what {text!r} returns has its own")
    try:
        made = EntryPoint("", text, "").load()()
    except (ImportError, AttributeError, ValueError) as error:
        raise Failure(
            USAGE, f"no executor {text!r}: {error}; write threads, processes, or module:name of what makes one"
        ) from error
    with made:
        yield made


def takes(function: Any, parameter: str) -> bool:
    """Return True if a function has a parameter of a name.

    Args:
        function: the function.
        parameter: the name.
    """
    return parameter in inspect.signature(function).parameters
