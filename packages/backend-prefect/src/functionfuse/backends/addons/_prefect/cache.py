"""Prefect's cache, whose keys know neither the helpers nor the constants of a function: recipes do."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from prefect.cache_policies import CachePolicy

from functionfuse.file_check import STALE
from functionfuse.fingerprint import RecipeBook, Unfingerprintable

if TYPE_CHECKING:
    from prefect.context import TaskRunContext

    from functionfuse.backends.frames import Frame, Task
    from functionfuse.backends.options import Reuse


@dataclass
class WithRecipe(CachePolicy):
    """A cache policy of the user, whose keys hold the recipe of the node too.

    Attributes:
        policy: of the user.
        recipe: the digest of the recipe.
    """

    policy: CachePolicy = field(default_factory=CachePolicy)
    recipe: str = ""

    def compute_key(
        self, task_ctx: TaskRunContext, inputs: dict[str, Any], flow_parameters: dict[str, Any], **kwargs: Any
    ) -> str | None:
        key = self.policy.compute_key(task_ctx, inputs, flow_parameters, **kwargs)
        return None if key is None else f"{key}-{self.recipe}"


def with_recipe(policy: Any, recipe: str) -> Any:
    """Return a cache policy whose keys hold a recipe, and are kept where those of another one are.

    Args:
        policy: the other one; whatever is none is returned as it is.
        recipe: the digest of the recipe.
    """
    if not isinstance(policy, CachePolicy):
        return policy
    return WithRecipe(policy.key_storage, policy.isolation_level, policy.lock_manager, policy, recipe)


class Lookup(NamedTuple):
    """How a node's result is looked up in Prefect's cache.

    Attributes:
        recipe: the digest of its recipe; empty without one.
        refresh: whether the node runs, whatever the cache has.
    """

    recipe: str
    refresh: bool


class CacheLookups:
    """The lookups of the nodes that Prefect caches.

    Args:
        has_store: whether there is a store; then the plan has the recipes.
        reuse: that of the run.
    """

    def __init__(self, *, has_store: bool, reuse: Reuse) -> None:
        self._has_store = has_store
        self._refresh = reuse == "never"
        self._recipes: dict[Frame, dict[str, str]] = {}

    def of(self, task: Task) -> Lookup:
        """Return the lookup of a node; one without a recipe, or that must run every time, runs."""
        recipe, options = self._recipe(task), task.step.options
        is_stale = task.step.reason.startswith(STALE)  # the cache has the same result
        return Lookup(recipe, self._refresh or not recipe or options.log or is_stale)

    def _recipe(self, task: Task) -> str:
        frame, step = task
        if self._has_store:
            return step.recipe.digest if step.recipe else ""
        if frame not in self._recipes:
            self._recipes[frame] = _recipes(frame)
        return self._recipes[frame].get(step.name, "")


def _recipes(frame: Frame) -> dict[str, str]:
    """Return the digests of the recipes of a frame's steps, of those that have one."""
    book = RecipeBook()
    found: dict[str, str] = {}
    for step in frame.plan:
        try:
            if step.options.cache == "never":
                raise Unfingerprintable
            found[step.name] = book.write(step, frame.full_name(step.name)).digest
        except Unfingerprintable:
            book.leave_out(step)
    return found
