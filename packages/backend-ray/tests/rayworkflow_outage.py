"""A store that can be made to fail, in whatever process it is used."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from pathlib import Path

from functionfuse.errors import StorageError
from functionfuse.storage import FileStore

_turns = threading.local()


def _failing(name):
    def operation(self, *args, **options):
        self.fail_if_told_to(name)
        return getattr(FileStore, name)(self, *args, **options)

    return operation


class Unreliable(FileStore):
    """Fails in turns that a file beside it tells: "x" is a failure, and what comes last is followed by the first."""

    def fail_if_told_to(self, name):
        try:
            turns = self.switch.read_text()
        except FileNotFoundError:
            return
        if not turns:  # it is just being written
            return
        turn = getattr(_turns, "next", 0)
        _turns.next = turn + 1
        if turns[turn % len(turns)] == "x":
            raise StorageError(f"{self.path!r} cannot be reached, for {name}")

    @property
    def switch(self):
        return Path(f"{self.path}.away")

    @contextmanager
    def failing(self, turns="x"):
        """Fail in these turns of each thread; without any, always."""
        self.switch.write_text(turns)
        try:
            yield
        finally:
            self.switch.unlink()


for _name in ("save", "read_task", "info", "has_tasks", "list_tasks", "list_workflows", "remove_workflow"):
    setattr(Unreliable, _name, _failing(_name))
