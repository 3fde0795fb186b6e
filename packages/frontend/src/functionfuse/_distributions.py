"""Which distribution has a module of the namespace, for the error where it is not installed."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

DISTRIBUTIONS = {
    "functionfuse.storage": "functionfuse-storage",
    "functionfuse.serializers": "functionfuse-storage",
    "functionfuse.backends.builtin.localback": "functionfuse-backend-local",
    "functionfuse.backends.builtin.graphback": "functionfuse-backend-local",
    "functionfuse.backends.builtin.rayback": "functionfuse-backend-ray",
    "functionfuse.backends.addons.rayworkflow": "functionfuse-backend-ray",
    "functionfuse.backends.addons.rayworkflowback": "functionfuse-backend-ray",
    "functionfuse.backends.addons.prefectback": "functionfuse-backend-prefect",
    "functionfuse.backends.addons.kfpback": "functionfuse-backend-kfp",
}
"""By module: the distribution that has it."""


class MissingDistributions:
    """The last finder of modules: what nothing else finds may be in a distribution that is not installed."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> None:  # noqa: ARG004
        """Return None, or raise ModuleNotFoundError for a module that a distribution has.

        Args:
            name: of the module.
            path: where other finders look for it.
            target: the module that is reloaded.
        """
        # A folder of the namespace, like `functionfuse.backends.addons`, comes with any of several distributions.
        missing = {
            module: distribution
            for module, distribution in (DISTRIBUTIONS.items() if name.startswith("functionfuse.") else ())
            if module == name or module.startswith(f"{name}.")
        }
        if not missing:
            return
        where = "; ".join(f"for {module}: pip install {distribution}" for module, distribution in missing.items())
        # Without its name: Python takes no notice of that where a module is imported from its package.
        raise ModuleNotFoundError(f"no module {name!r} is installed; {where}")


sys.meta_path.append(MissingDistributions)
