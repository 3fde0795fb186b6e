"""Try whether something that is installed works, in a process of its own: `python -m ... probing KIND NAME`."""

from __future__ import annotations

import json
import sys
import time
import traceback
from contextlib import suppress
from importlib.metadata import entry_points
from typing import Any

GROUPS = {"backend": "functionfuse.backends", "store": "functionfuse.stores", "serializer": "functionfuse.serializers"}
"""By kind: the group of the entry points."""
ABSENT = "absent"
"""The state of what needs a package that is not installed."""


def probe(kind: str, name: str) -> dict[str, Any]:
    """Return whether something works, and what is wrong.

    Args:
        kind: "backend", "store", "serializer", or "location".
        name: of it; the location of a store.
    """
    begun = time.monotonic()
    state, problem = "ok", ""
    try:
        if kind == "location":
            _try_location(name)
        else:
            found = next(one for one in entry_points(group=GROUPS[kind]) if one.name == name).load()
            if kind == "backend":
                _try_backend(found)
            elif (kind, name) == ("store", "file"):
                _try_location("file:store")
    except ModuleNotFoundError as error:
        state, problem = ABSENT, str(error)
    except Exception as error:
        traceback.print_exc()
        state, problem = "wrong", f"{type(error).__name__}: {error}"
    return {"state": state, "problem": problem, "seconds": round(time.monotonic() - begun, 3)}


def _try_backend(backend: Any) -> None:
    """Run a graph of one node."""
    from functionfuse import workflow

    @workflow
    def one_plus(number: int) -> int:
        return 1 + number

    made = backend(one_plus(1).set_name("two"), workflow_name="functionfuse_doctor")
    try:
        result = made.run()
        if not hasattr(made, "picture") and result != 2:
            raise ValueError(f"1 + 1 came out as {result!r}")
    finally:
        with suppress(AttributeError):
            made.close()


def _try_location(location: str) -> None:
    """Save a result in a store, read it, and remove it."""
    from functionfuse.stores import open_store

    store, name = open_store(location), "functionfuse doctor"
    store.new_workflow(name)
    try:
        store.save(name, "two", 2)
        if store.read_task(name, "two") != 2:
            raise ValueError("what was saved came back as something else")
    finally:
        store.remove_workflow(name)


def main() -> None:
    """Probe what the arguments name; what it prints meanwhile goes to standard error."""
    from .streams import prints_to_stderr

    with prints_to_stderr():
        found = probe(sys.argv[1], sys.argv[2])
    print(json.dumps(found))


if __name__ == "__main__":
    main()
