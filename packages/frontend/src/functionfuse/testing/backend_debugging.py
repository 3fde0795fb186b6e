"""The conformance suite of backends: runs for debuggers and profilers."""

from __future__ import annotations

import os
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from functionfuse import workflow
from functionfuse.testing.backend_suite import BackendSuite
from functionfuse.testing.functions import fails, same
from functionfuse.testing.standard_tests import core

if TYPE_CHECKING:
    from types import FrameType

MOST_FRAMES = 10
"""Between the line that calls `run(inline=True)` and the user's function."""


class DebuggingTests(BackendSuite, suite=True):
    """What `run(inline=True)` does, whatever the engine."""

    @core
    def test_an_inline_run(self, make_workflow: Any) -> None:
        """Calls are made in this thread, with few frames around them."""
        between: list[FrameType] = []

        @workflow
        def looks(x: int) -> tuple[int, int, int]:
            frame: FrameType | None = sys._getframe(1)
            while frame is not None and frame.f_code.co_name != "test_an_inline_run":
                between.append(frame)
                frame = frame.f_back
            return x, os.getpid(), threading.get_ident()

        results = make_workflow(looks(same(5)), same(6)).run(inline=True)
        assert results == [(5, os.getpid(), threading.get_ident()), 6]
        assert 0 < len(between) <= MOST_FRAMES

    @core
    def test_a_failure_of_an_inline_run(self, make_workflow: Any) -> None:
        """What the function raised is raised, for a debugger to look at; a note has the node."""
        with pytest.raises(ValueError, match="my words") as caught:
            make_workflow(same(fails("my words", 5).set_name("culprit"))).run(inline=True)
        assert caught.value.__notes__ == ["in node 'culprit', called as fails('my words', 5)"]
