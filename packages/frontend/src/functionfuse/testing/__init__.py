"""Conformance suites and doubles, for authors of backends and stores.

``BackendTests`` and ``StoreTests`` are pytest classes to subclass with a fixture or two; they need pytest.
``MemoryStore`` counts the calls of its methods, ``RefusingWorkflow`` runs nothing; they need no pytest.
``wait_until`` waits for what another process does.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from functionfuse.testing.memory_store import MemoryStore
from functionfuse.testing.refusing import RefusingWorkflow
from functionfuse.testing.waiting import wait_until

if TYPE_CHECKING:
    from functionfuse.testing.backend_tests import BackendTests
    from functionfuse.testing.store_tests import StoreTests

__all__ = ["BackendTests", "MemoryStore", "RefusingWorkflow", "StoreTests", "wait_until"]

_SUITES = {
    "BackendTests": "functionfuse.testing.backend_tests",
    "StoreTests": "functionfuse.testing.store_tests",
}
_PARTS = ("arguments", "dynamic", "suite", "failures", "files", "graphs", "objects", "options", "reuse")

if "pytest" in sys.modules:  # so that a failing assertion shows its values
    sys.modules["pytest"].register_assert_rewrite(*_SUITES.values(), *[f"{__name__}.backend_{part}" for part in _PARTS])


def __getattr__(name: str) -> Any:
    """Import a conformance suite when it is first used, so that the doubles can be used without pytest."""
    if name not in _SUITES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_SUITES[name]), name)
