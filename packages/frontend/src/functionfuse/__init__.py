"""Write a workflow as plain Python; run the same graph on any engine.

One decorator, `workflow` (alias ``task``), turns a call of a function or class into a node of a graph;
``set_name`` names the node. `File` and `Env` are arguments that count by their content; `sweep` makes a node for each
combination of values. `Stateful` and `makes_node` describe decorated classes to type checkers. Engines are installed
beside this package and found under ``functionfuse.backends``.
"""

from __future__ import annotations

import os
import sys

# Backends and storage are distributions of their own under this one namespace, and an editable one has a
# folder of its own. This is what pkgutil.extend_path does; importing pkgutil takes longer than all the rest.
_folders = [os.path.join(entry or os.getcwd(), __name__) for entry in sys.path]  # noqa: PTH109, PTH118
__path__ += [folder for folder in _folders if folder not in __path__ and os.path.isdir(folder)]  # noqa: PTH112

from functionfuse import _distributions  # noqa: E402, F401  names what has a module that is not installed

# The decorator takes its name over from the module that has it: that is imported once, and here.
from functionfuse.workflow import task, workflow  # noqa: E402  the namespace comes first

if "IPython" in sys.modules:
    from functionfuse import notebooks

    notebooks.watch()

TYPE_CHECKING = False
if TYPE_CHECKING:
    from functionfuse.files import Env, File
    from functionfuse.stateful import Stateful, makes_node
    from functionfuse.sweeps import Fixed, sweep

__all__ = ["Env", "File", "Fixed", "Stateful", "makes_node", "sweep", "task", "workflow"]
__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """Import what few programs use when it is first used; what finds `File` and `Env` in arguments asks whether."""
    if name in ("Env", "File"):
        from functionfuse import files

        return getattr(files, name)
    if name in ("Fixed", "sweep"):
        from functionfuse import sweeps

        return getattr(sweeps, name)
    if name in ("Stateful", "makes_node"):
        from functionfuse import stateful

        return getattr(stateful, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
