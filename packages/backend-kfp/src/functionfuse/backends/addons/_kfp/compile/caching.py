"""Cache keys for Kubeflow Pipelines, made from recipes."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

from functionfuse.fingerprint import RecipeBook, Unfingerprintable

from .settings import settings_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from functionfuse.plan import Step

    from .pods import Pod


def cache_keys(pods: Iterable[Pod], steps: Sequence[Step], image: str) -> dict[str, str]:
    """Return a cache key for each pod, made from all that its outputs depend on.

    Args:
        pods: the pods.
        steps: all steps of the plan.
        image: of pods that have no other.

    Returns:
        By the pod's key; a pod that holds a step without a recipe has none.
    """
    book, digests = RecipeBook(), {}
    for step in steps:
        try:
            if step.options.cache == "never" or step.options.log:
                book.leave_out(step)
            else:
                digests[step.name] = book.write(step, step.name).digest
        except Unfingerprintable:
            book.leave_out(step)
    keys = {}
    for pod in pods:
        if all(step.name in digests for step in pod.steps):
            settings = settings_of(pod.steps)
            facts = [digests[step.name] for step in pod.steps]
            facts += [settings.get("image", image), *settings.get("packages", ()), repr(list(pod.outputs.items()))]
            keys[pod.key] = sha256("\0".join(facts).encode()).hexdigest()
    return keys
