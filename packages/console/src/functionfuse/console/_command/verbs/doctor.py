"""`functionfuse doctor`."""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from importlib.metadata import distributions, entry_points
from pathlib import Path
from typing import Any

import click

from functionfuse.errors import FunctionFuseError

from ..documents import write_document
from ..exit_codes import DONE, FAILED, USAGE, Failure
from ..extensions import extensions
from ..probing import ABSENT, GROUPS
from ..settings import settings_of
from ..stores import json_option, storage_option
from ..streams import note, write
from ..tables import write_table
from ..texts import seconds_text

_HEADER = ("what", "name", "version", "state", "took", "problem")
_LONGEST = 200  # characters of a problem in the table


@click.command("doctor")
@click.argument("names", metavar="[NAME]...", nargs=-1)
@storage_option
@click.option("--profile", metavar="FILE", help="A profile to check. [default: that of pyproject.toml]")
@click.option("--env", metavar="NAME", help="Environment of the profile.")
@click.option("--needs", metavar="FILE", help="What nodes need, beside the profile.")
@click.option(
    "--timeout",
    metavar="SECONDS",
    type=click.FloatRange(1),
    default=120.0,
    help="The most time for each of them. [default: 120]",
)
@json_option
def _doctor(
    names: tuple[str, ...],
    storage: str | None,
    profile: str | None,
    env: str | None,
    needs: str | None,
    timeout: float,
    as_json: bool,
) -> int:
    """Check what is installed, or only what is called NAME; and a profile, and a store.

    Every backend runs a graph of one node, in a process of its own; a cluster or server that it needs is started, if
    none is named. Exits with 1 if something is wrong. What needs a package that is not installed is absent, not wrong.
    """
    settings = settings_of(Path.cwd())
    installed = _installed()
    unknown = sorted(set(names) - {name for _, name, _ in installed})
    if unknown:
        known = ", ".join(name for _, name, _ in installed)
        raise Failure(USAGE, f"nothing is called {unknown[0]!r}; installed: {known}")
    rows = [_probed(*one, timeout) for one in installed if not names or one[1] in names]
    profile, storage = profile or settings.profile, storage or settings.storage
    rows += [] if profile is None else [_profile(profile, env, needs)]
    rows += [] if storage is None else [_row("location", storage, "", _tried("location", storage, timeout, Path.cwd()))]
    wrong = [row for row in rows if row["state"] not in ("ok", ABSENT)]
    if as_json:
        write_document("doctor", {**_system(), "settings": settings.source, "checks": rows, "ok": not wrong})
        return FAILED if wrong else DONE
    system = _system()
    versions = ", ".join(f"{name} {version}" for name, version in system["distributions"].items())
    write(f"Python {system['python']} on {system['platform']}\n{versions}")
    write(f"settings: {settings.source or 'none ([tool.functionfuse] in a pyproject.toml)'}")
    write(f"verbs of other packages: {', '.join(extensions()) or 'none'}\n")
    cells = [
        (row["kind"], row["name"], row["version"], row["state"], seconds_text(row["seconds"]), _short(row["problem"]))
        for row in rows
    ]
    write_table("", _HEADER, cells, {"took"})
    note(f"{len(wrong)} of {len(rows)} wrong" if wrong else "nothing is wrong")
    return FAILED if wrong else DONE


command = _doctor


def _system() -> dict[str, Any]:
    named = {one.metadata["Name"]: one.version for one in distributions()}
    own = {name: version for name, version in sorted(named.items()) if name and name.startswith("functionfuse")}
    return {"python": platform.python_version(), "platform": platform.platform(), "distributions": own}


def _installed() -> list[tuple[str, str, str]]:
    """Return kind, name and version of what can be tried."""
    return [
        (kind, one.name, "" if one.dist is None else one.dist.version)
        for kind, group in GROUPS.items()
        for one in sorted(entry_points(group=group), key=lambda one: one.name)
    ]


def _probed(kind: str, name: str, version: str, timeout: float) -> dict[str, Any]:
    note(f"trying {kind} {name} ...")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        return _row(kind, name, version, _tried(kind, name, timeout, Path(folder)))


def _tried(kind: str, name: str, timeout: float, folder: Path) -> dict[str, Any]:
    """Return what a probe finds in a process of its own, which is ended with all that it started."""
    arguments = [sys.executable, "-m", f"{__package__.rpartition('.')[0]}.probing", kind, name]
    process = subprocess.Popen(  # noqa: S603  our own command
        arguments, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )
    try:
        printed, said = process.communicate(timeout=timeout)
        found: dict[str, Any] = json.loads(printed.splitlines()[-1])
    except subprocess.TimeoutExpired:
        return {"state": "wrong", "problem": f"it did not end within {timeout:g} seconds", "seconds": timeout}
    except (ValueError, IndexError):
        return {"state": "wrong", "problem": f"its process ended: {said[-_LONGEST:].strip()}", "seconds": None}
    finally:
        _end(process)
    return found


def _end(process: subprocess.Popen[str]) -> None:
    with suppress(ProcessLookupError):  # if it left nothing
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def _profile(path: str, env: str | None, needs: str | None) -> dict[str, Any]:
    from functionfuse.backends.profile import load

    try:
        load(path, env=env, needs=needs)
    except FunctionFuseError as error:
        return _row("profile", path, "", {"state": "wrong", "problem": str(error), "seconds": None})
    return _row("profile", path, "", {"state": "ok", "problem": "", "seconds": None})


def _row(kind: str, name: str, version: str, found: dict[str, Any]) -> dict[str, Any]:
    return {"kind": kind, "name": name, "version": version, **found}


def _short(text: str) -> str:
    line = text.partition("\n")[0]
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…"
