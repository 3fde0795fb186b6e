"""The decorator, where scripts for the original Function Fuse import it from.

``functionfuse.workflow`` is the decorator itself: the package takes the name over from this module.
"""

from __future__ import annotations

from functionfuse.decorator import task, workflow

__all__ = ["task", "workflow"]
