"""Digests of the code of functions."""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from functionfuse.backends.driver_state import code_of_steps
from functionfuse.fingerprint import Fingerprinter, Unfingerprintable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ray.dag import DAGNode

    from functionfuse.plan import Step

_steps: WeakKeyDictionary[DAGNode, Sequence[Step]] = WeakKeyDictionary()  # of nodes that run graphs
_HEX = 32  # 128 bits of a SHA-256, as in recipes


def code_of(function: object) -> str:
    """Return a digest of the code of a function, and of all code of the project that it uses; "" if there is none."""
    try:
        return Fingerprinter().digest(function).hex()[:_HEX]
    except Unfingerprintable:
        return ""


def codes_of(steps: Sequence[Step]) -> dict[str, str]:
    """Return digests of the code of a graph's nodes, by name."""
    targets = {id(step.target): step.target for step in steps}
    codes = {key: code_of(target) for key, target in targets.items()}
    return {step.name: codes[id(step.target)] for step in steps}


def note_steps(node: DAGNode, steps: Sequence[Step]) -> None:
    """Note which steps a node runs, whose arguments hold them as bytes.

    Args:
        node: the node.
        steps: the steps.
    """
    _steps[node] = steps


def code_of_graph(node: DAGNode) -> list[object]:
    """Return what the steps call that a node runs; nothing for other nodes."""
    return code_of_steps(_steps.get(node, ()))
