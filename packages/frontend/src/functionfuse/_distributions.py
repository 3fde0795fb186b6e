"""Which distribution has a module of the namespace, for the error where it is not installed."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
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
    "functionfuse.console": "functionfuse-console",
}
"""By module: the distribution that has it."""

_FOLDERS = ("functionfuse.backends.builtin", "functionfuse.backends.addons")
_make_spec = type(__spec__)  # importlib.machinery takes longer to import than this module


class MissingDistributions:
    """The last finder of modules: what nothing else finds may be in a distribution that is not installed."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:  # noqa: ARG004
        """Return what finders return; None for all that no distribution has.

        The folders of the namespace are there without a distribution that brings them, as empty ones: only then Python
        asks for the module.

        Args:
            name: of the module.
            path: the folders of the package that it is in.
            target: the module that is reloaded.

        Raises:
            ModuleNotFoundError: a distribution has the module.
        """
        if name in DISTRIBUTIONS:
            # Without its name: Python takes no notice of that where a module is imported from its package.
            raise ModuleNotFoundError(f"no module {name!r} is installed: pip install {DISTRIBUTIONS[name]}")
        if name not in _FOLDERS:
            return None
        folder = name.rpartition(".")[2]
        spec = _make_spec(name, None, is_package=True)
        spec.submodule_search_locations = [f"{parent}/{folder}" for parent in path or ()]
        return spec


sys.meta_path.append(MissingDistributions)
