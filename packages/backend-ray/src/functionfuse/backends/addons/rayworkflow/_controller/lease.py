"""Who runs a workflow: one owner at a time, as shown by records that are created once.

The owner of the highest epoch runs the workflow. The heartbeat of an owner is a count in the store that it raises;
a process that sees no heartbeat for some time, on a clock of its own, may take the next epoch. What the former owner
then writes as an end has an older epoch and is not read.
"""

from __future__ import annotations

import os
import threading
import time
import uuid
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING

from functionfuse.errors import CorruptRecord, StorageError, TaskNotFound

from .._records.journal import with_retries
from .._records.lease_records import epoch_key, latest_epoch, owner_of

if TYPE_CHECKING:
    from functionfuse.stores import Catalogue

    from .._records.journal import Journal

OWNERS = "durable owners"
HEARTBEATS = 4  # in the time of a lease


class LeaseOwner:
    """This process as an owner of workflows, which sends heartbeats to the store.

    Args:
        store: where.
        actor: the same in all processes of one actor, of which at most one lives.
        seconds: of a lease: how long this owner keeps it without a heartbeat. The others' heartbeats say it of theirs.
        shown: whether it sends heartbeats; without, it only checks others.

    Attributes:
        lapses: how often the lease expired because there was no heartbeat.
        checked: after how many of them the leases were checked.
        problem: why the last heartbeat could not be stored.
    """

    def __init__(self, store: Catalogue, actor: str, seconds: float, *, shown: bool = True) -> None:
        self.name = f"{actor}|{_machine()}|{os.getpid()}:{_started(os.getpid())}|{uuid.uuid4().hex}"
        self._store = store
        self._actor = actor
        self._seconds = seconds
        self._count = 0
        self._shown: float | None = None
        self.lapses = self.checked = 0
        self.problem: StorageError | None = None
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._send_heartbeats, daemon=True, name="leases")
        if shown:
            self._try_heartbeat()
            self._thread.start()

    def close(self) -> None:
        """Send no more heartbeats."""
        self._closed.set()
        if self._thread.is_alive():
            self._thread.join()

    def is_certain(self) -> bool:
        """Return True while the leases of this owner are held: they did not expire since they were checked."""
        return self.lapses == self.checked and self._shown is not None and not self._is_silent_since(self._shown)

    def _is_silent_since(self, shown: float) -> bool:
        return time.monotonic() - shown > self._seconds * 0.75

    def is_alive(self, owner: str) -> bool:
        """Return True if another owner lives; this may take as long as a lease."""
        if owner == self.name:
            return True
        actor, machine, process, _ = owner.split("|")
        if actor == self._actor:
            return False
        if machine and machine == _machine():
            pid, _, started = process.partition(":")
            if not started or _started(int(pid)) != started:
                return False
        return self._is_counting(owner)

    def _is_counting(self, owner: str) -> bool:
        first = self._count_of(owner)
        until = time.monotonic() + self._lease_of(owner)
        while first is not None and time.monotonic() < until:
            time.sleep(self._seconds / HEARTBEATS)
            if self._count_of(owner) != first:
                return True
        return False

    def _count_of(self, owner: str) -> int | None:
        if not with_retries(self._store.has_tasks, OWNERS, [owner]):
            return None
        try:
            count: int = with_retries(self._store.read_task, OWNERS, owner)
        except (TaskNotFound, CorruptRecord):  # the next one will be sound
            return 0
        return count

    def _lease_of(self, owner: str) -> float:
        """Return how long an owner keeps its lease: a reader that waits for less would take it for dead."""
        try:
            meta = with_retries(self._store.info, OWNERS, owner)["meta"]
        except (TaskNotFound, CorruptRecord):
            return self._seconds
        return float(meta.get("lease", self._seconds))

    def _send_heartbeat(self) -> None:
        self._count += 1
        now = time.monotonic()
        self._store.save(OWNERS, self.name, self._count, meta={"lease": self._seconds})
        self.lapses += self._shown is not None and self._is_silent_since(self._shown)
        self._shown = now

    def _try_heartbeat(self) -> None:
        try:
            self._send_heartbeat()
            self.problem = None
        except StorageError as error:  # is_certain returns False
            self.problem = error

    def _send_heartbeats(self) -> None:
        while not self._closed.wait(self._seconds / HEARTBEATS):
            self._try_heartbeat()


def acquire(journal: Journal, owner: LeaseOwner, about: object = None, *, after: int | None = None) -> int | None:
    """Take the next epoch of a workflow; None while another owner that lives has it.

    An epoch that has ended is nobody's. The record of the new one keeps `about`.

    Args:
        journal: the records of the workflow.
        owner: who takes it.
        about: what the record of the epoch keeps besides.
        after: the epoch that was the latest when the caller looked at the workflow. Where there is a later one by now,
            somebody had the workflow meanwhile, and None is returned.
    """
    epoch = latest_epoch(journal)
    if after is not None and epoch != after:
        return None
    if epoch and not journal.has(f"end/{epoch_key(epoch)}"):
        other = owner_of(journal, epoch)
        if other and other != owner.name and owner.is_alive(other):
            return None
    following = epoch + 1
    record = journal.put_or_get(f"lease/{epoch_key(following)}", "lease", owner.name, about, start_time=time.time())
    return following if record[1] == owner.name else None


def is_held(journal: Journal, owner: LeaseOwner, epoch: int) -> bool:
    """Return True if this owner still has its epoch: nobody took a later one, and the workflow was not deleted.

    A lease that is damaged meanwhile counts as that of its owner.

    Args:
        journal: the records of the workflow.
        owner: who has it.
        epoch: since which.
    """
    is_last = journal.has(f"lease/{epoch_key(epoch)}") and not journal.has(f"lease/{epoch_key(epoch + 1)}")
    return is_last and owner_of(journal, epoch) in (owner.name, "")


def check_lease(seconds: object) -> None:
    """Check how long a lease is to be.

    Raises:
        TypeError: it is not a number.
        ValueError: it is not a positive one, or infinite.
    """
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise TypeError(f"a lease must be a number of seconds, not {seconds!r}")
    if not 0 < seconds < inf:
        raise ValueError(f"a lease must be a positive number of seconds, not {seconds!r}")


def _machine() -> str:
    """Return an identity of this machine and of the processes visible on it; "" if that is unknown."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}:{Path('/proc/self/ns/pid').stat().st_ino}"
    except OSError:
        return ""


def _started(pid: int) -> str:
    """Return when a process of this machine began, in its own count; "" if there is none."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else fields[19]
