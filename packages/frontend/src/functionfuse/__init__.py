"""Write a workflow as plain Python; run the same graph on any engine.

One decorator, `workflow` (alias ``task``), turns a call of a function or class into a node of a graph;
``set_name`` names the node. Engines are installed beside this package and found under
``functionfuse.backends``.
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

__all__ = ["task", "workflow"]
__version__ = "0.1.0"
