"""Where and with what a run is executed: machine, process, versions, and the commit of the program."""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from functionfuse._distributions import DISTRIBUTIONS

if TYPE_CHECKING:
    from subprocess import Popen

_PATIENCE = 0.1  # seconds that the end of a run waits for git, once
_LONGEST = 10.0  # seconds after which git is given up
_GIT = ("git", "-c", "core.fsmonitor=false", "status", "--porcelain=v2", "--branch", "--untracked-files=no")


def host_name() -> str:
    """Return the name of this machine."""
    import platform  # which is not imported by most runs

    return os.uname().nodename if hasattr(os, "uname") else platform.node()


def process_mark(process: int) -> str:
    """Return what tells a process from later ones of its number; an empty text where the system does not tell.

    Args:
        process: its number.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return ""
    return f"{boot}:{fields[19]}"  # when it started


def is_alive(process: int, mark: str) -> bool:
    """Return True if a process of this machine still exists.

    Args:
        process: its number.
        mark: its `process_mark`; an empty one if that was not known.
    """
    if mark:
        return process_mark(process) == mark
    if os.name == "nt":  # there, os.kill would end it
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass  # of another user
    return True


def surroundings_of_run() -> dict[str, Any]:
    """Return host, user, process, Python, platform, program and folder of this process, as data."""
    return {
        "host": host_name(),
        "user": _user(),
        "process": os.getpid(),
        "mark": process_mark(os.getpid()),
        "python": ".".join(map(str, sys.version_info[:3])),
        "platform": sys.platform,
        "program": sys.argv[0] if getattr(sys, "argv", None) else "",
        "folder": _folder(),
    }


def package_versions() -> dict[str, str]:
    """Return the versions of the packages that this process has imported, as far as they say, and of Function Fuse."""
    found = dict(_own_versions())
    for name, module in list(sys.modules.items()):
        if "." not in name and name not in sys.stdlib_module_names and not name.startswith("_"):
            version = getattr(module, "__dict__", {}).get("__version__")  # some warn when they are asked for it
            if isinstance(version, str):
                found.setdefault(name, version)
    return dict(sorted(found.items()))


class GitState:
    """The commit of the folder of this process, and whether files differ from it, as git tells.

    Git is asked once for a folder, while the first run there goes on.
    """

    def __init__(self) -> None:
        self._folder = ""
        self._asked: Popen[bytes] | None = None
        self._since = 0.0
        self._known: dict[str, Any] = {}

    def ask(self) -> None:
        """Let git begin to look, if it has not looked at this folder."""
        folder = _folder()
        if folder == self._folder or self._asked is not None:
            return
        self._folder, self._known, self._since = folder, {}, time.monotonic()
        if not _is_in_repository(folder):
            return
        import subprocess  # which many runs need for nothing else

        quiet = {"stdin": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "stdout": subprocess.PIPE}
        environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
        with suppress(OSError, ValueError):  # there is no git
            self._asked = subprocess.Popen(_GIT, env=environment, **quiet)  # type: ignore[call-overload]  # noqa: S603  it is constant

    def answer(self) -> dict[str, Any]:
        """Return `{"commit": ..., "dirty": ...}`; an empty dict if git does not know, or not yet."""
        if self._asked is not None:
            import subprocess

            try:
                text = self._asked.communicate(timeout=_PATIENCE)[0]
            except subprocess.TimeoutExpired:
                if time.monotonic() - self._since < _LONGEST:
                    return {}  # a large repository: for a later run
                self._asked.kill()
                text = self._asked.communicate()[0]
            self._known = _parsed(text) if self._asked.returncode == 0 else {}
            self._asked = None
        return dict(self._known)

    def stop(self) -> None:
        """End git, as this process ends."""
        if self._asked is not None:
            self._asked.kill()
            self._asked.communicate()
            self._asked = None


@lru_cache(1)
def git_state() -> GitState:
    """Return the one of this process."""
    import atexit

    state = GitState()
    atexit.register(state.stop)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=git_state.cache_clear)
    return state


def _parsed(text: bytes) -> dict[str, Any]:
    lines = text.decode("utf-8", "replace").splitlines()
    commits = [line.rpartition(" ")[2] for line in lines if line.startswith("# branch.oid ")]
    if not commits or commits[0] == "(initial)":
        return {}
    return {"commit": commits[0], "dirty": any(not line.startswith("#") for line in lines)}


def _is_in_repository(folder: str) -> bool:
    return bool(folder) and any((path / ".git").exists() for path in (Path(folder), *Path(folder).parents))


def _folder() -> str:
    try:
        return os.getcwd()  # noqa: PTH109  a text is wanted
    except OSError:  # it was removed
        return ""


def _user() -> str:
    names = (os.environ.get(name, "") for name in ("LOGNAME", "USER", "LNAME", "USERNAME"))
    return next(filter(None, names), "") or (str(os.getuid()) if hasattr(os, "getuid") else "")


@lru_cache(1)
def _own_versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version  # takes longer to import than this package

    found = {}
    for name in ("functionfuse", *sorted(set(DISTRIBUTIONS.values()))):
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
