"""A store that can be made to fail, in whatever process it is used."""

from __future__ import annotations

import random
from contextlib import contextmanager
from pathlib import Path

from functionfuse.errors import StorageError
from functionfuse.storage import FileStore


def _failing(name):
    def operation(self, *args, **options):
        self.fail_if_told_to(name)
        return getattr(FileStore, name)(self, *args, **options)

    return operation


class Unreliable(FileStore):
    """Fails as often as a file beside it says: "1" for always."""

    def fail_if_told_to(self, name):
        try:
            share = float(self.switch.read_text())
        except (FileNotFoundError, ValueError):  # it is just being written
            return
        if random.random() < share:
            raise StorageError(f"{self.path!r} cannot be reached, for {name}")

    @property
    def switch(self):
        return Path(f"{self.path}.away")

    @contextmanager
    def failing(self, share=1.0):
        """Fail in this share of all operations."""
        self.switch.write_text(str(share))
        try:
            yield
        finally:
            self.switch.unlink()


for _name in ("save", "read_task", "info", "has_tasks", "list_tasks", "list_workflows", "remove_workflow"):
    setattr(Unreliable, _name, _failing(_name))
