"""What the tests of durable workflows run."""

from __future__ import annotations

import os
from pathlib import Path

import ray

from functionfuse.backends.addons import rayworkflow as workflow
from functionfuse.storage import FileStore
from functionfuse.testing import wait_until


def note(path, word="x"):
    """Append a word to a file, in one write."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(descriptor, f"{word}\n".encode())
    os.close(descriptor)


def noted(path):
    """The words that were noted."""
    try:
        return Path(path).read_text().split()
    except FileNotFoundError:
        return []


def wait_until_noted(*paths):
    """Wait until something is noted in each of these files."""
    wait_until(lambda: all(map(noted, paths)))


def fail_unless_ready(path):
    """Raise OSError until ``<path>.ready`` is noted."""
    if not noted(f"{path}.ready"):
        raise OSError("not yet")


def records(root, workflow_id, kind):
    """The keys of the records of one kind that are stored of a workflow."""
    store = FileStore(root, durable=False)
    return [name.rpartition(f"/{kind}/")[2] for name in store.list_tasks(f"durable/{workflow_id}", f"*/{kind}/*")]


def record(root, workflow_id, kind, key):
    """The one record of this kind and key that is stored of a workflow."""
    store = FileStore(root, durable=False)
    (name,) = store.list_tasks(f"durable/{workflow_id}", f"*/{kind}/{key}")
    return store.read_task(f"durable/{workflow_id}", name)


def pid_of(title, below=None):
    """The process of this test's cluster whose title begins like this."""
    (pid,) = pids_of(title, below)
    return pid


def pids_of(title, below=None):
    """Processes below this one, or another one, whose titles begin like this."""
    found = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    found = [pid for pid in found if _read(f"/proc/{pid}/cmdline").startswith(title)]
    return [pid for pid in found if (below or os.getpid()) in _ancestors(pid)]


def _read(path):
    try:
        return Path(path).read_bytes()
    except OSError:
        return b""


def _ancestors(pid):
    while pid > 1:
        pid = int((_read(f"/proc/{pid}/stat").rpartition(b")")[2].split() or [0, 0])[1])
        yield pid


@ray.remote
def add(*numbers):
    return sum(numbers)


@ray.remote
def counted(path, value, *_):
    note(path)
    return value


@ray.remote(num_cpus=0)
def held(path, value=1):
    """Runs until a file is there, and notes that it starts and, unless it is killed, that it ends."""
    note(f"{path}.started")
    try:
        wait_until(lambda: Path(path).exists())
    finally:
        note(f"{path}.ended")
    return value


@ray.remote(num_cpus=0)
def nth_attempt(path):
    """Returns which attempt it is, when a file of that number is there."""
    note(f"{path}.attempts")
    attempt = len(noted(f"{path}.attempts"))
    wait_until(lambda: Path(f"{path}.{attempt}").exists())
    return attempt


@ray.remote
def failing(message="oops"):
    raise ValueError(message)


@ray.remote
def gather(*args):
    return args


class Polled(workflow.EventListener):
    """Notes when it is asked; its event is how often it was."""

    async def poll_for_event(self, path):
        note(f"{path}.polled")
        return len(noted(f"{path}.polled"))
