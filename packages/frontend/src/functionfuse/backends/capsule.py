"""Failure capsules: the call of a node that failed, in one file, to be made again here.

::

    from functionfuse.backends import capsule

    failed = capsule.open("capsules/train.capsule")
    print(failed)  # where, with what, and how it failed
    failed.replay()  # makes the call, with the same seed and plugin
    failed.debug()  # opens pdb where it raises

A capsule has the function and the arguments by value, as they are after the call: what the function changed in place
before it failed is changed. Opening one does not run anything in it; `replay`, `debug` and `call` do, so they are for
capsules of people whom you trust, as for any pickle.
"""

from __future__ import annotations

import io
import json
import pickle
import platform
import zipfile
from os import fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any

from functionfuse.backends.calls import Call
from functionfuse.backends.capsule_making import CALL, FORMAT, MANIFEST, FrameInfo
from functionfuse.backends.performing import perform
from functionfuse.backends.recording import Output, Piece, Usage
from functionfuse.backends.texts import described
from functionfuse.errors import CapsuleError, StorageError
from functionfuse.stores import capsules_of

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from functionfuse.stores import Catalogue, Store


class Capsule:
    """A node that failed.

    Args:
        content: of the file.
        source: where it comes from, for messages.
        store: where large arguments are.

    Raises:
        CapsuleError: the content is no capsule, is damaged, or was written by a newer release.

    Attributes:
        facts: what the capsule says, without the call: the node, the error, the environment ...
    """

    def __init__(self, content: bytes, source: str = "the capsule", store: Store | None = None) -> None:
        self._source = source
        self._store = store
        try:
            with zipfile.ZipFile(io.BytesIO(content)) as file:
                damaged = file.testzip()
                if damaged is not None:
                    raise zipfile.BadZipFile(f"{damaged} is damaged")
                self.facts: dict[str, Any] = dict(json.loads(file.read(MANIFEST)))
                self._pickled = file.read(CALL)
        except Exception as error:  # zipfile and zlib raise many things of damaged bytes
            raise CapsuleError(f"{source} is no capsule, or is damaged: {error}") from error
        if self.facts.get("format", 0) > FORMAT:
            raise CapsuleError(
                f"{source} was written by Function Fuse {self.facts.get('functionfuse')}, which is newer than this one"
            )

    @property
    def name(self) -> str:
        """The full name of the node."""
        return str(self.facts["name"])

    @property
    def frames(self) -> list[FrameInfo]:
        """The frames of the user's code, the outermost first, with their variables."""
        return [FrameInfo(**frame) for frame in self.facts["frames"]]

    @property
    def output(self) -> Output:
        """What the node printed, logged and warned of."""
        pieces, dropped = self.facts["output"]
        return Output(tuple(Piece(*piece) for piece in pieces), dropped)

    @property
    def usage(self) -> Usage:
        """What the node used before it failed."""
        return Usage(*self.facts["usage"])

    def call(self) -> Call:
        """Return the call, with its arguments.

        Raises:
            CapsuleError: it cannot be made here; the message says what is missing.
        """
        python = self.facts["python"]
        if python.rpartition(".")[0] != platform.python_version().rpartition(".")[0]:
            raise CapsuleError(
                f"{self._source} was made by Python {python}, whose code Python {platform.python_version()} does not "
                "read; replay it with the same minor version"
            )
        left_out = self.facts["left_out"]
        if left_out:
            listed = ", ".join(f"{name} ({why})" for name, why in left_out.items())
            raise CapsuleError(f"{self._source} cannot be replayed, as it is without {listed}")
        target, instance, args, kwargs, rest = self._loaded()
        for key, name, path in self.facts["stored"]:
            value = self._from_store(name, path)
            if isinstance(key, int):
                args = (*args[:key], value, *args[key + 1 :])
            else:
                kwargs = {**kwargs, key: value}
        return Call(target, args, kwargs, instance, **rest)

    def replay(self) -> Any:
        """Make the call here, under the same seed and plugin, and return its result, if it has one now.

        Raises:
            CapsuleError: it cannot be made here.
            Exception: what the function raises.
        """
        outcome = perform(self.call()._replace(retry=None, timeout=None))
        if outcome.error is not None:
            raise outcome.error
        return outcome.value

    def debug(self) -> None:
        """Make the call here, and open pdb at the line that raises.

        Raises:
            CapsuleError: it cannot be made here.
        """
        error = perform(self.call()._replace(retry=None, timeout=None)).error
        if error is None:
            print(f"node {self.name!r} does not fail here")
            return
        import pdb  # which takes long to import

        print(described(error))
        pdb.post_mortem(error.__traceback__)

    def __str__(self) -> str:
        facts = self.facts
        lines = [
            f"node {self.name!r} of workflow {facts['workflow_name']!r} failed: {facts['error']}",
            f"  {facts['called']}",
            f"  Python {facts['python']} on {facts['platform']}, process {self.usage.process} of {self.usage.host}",
        ]
        for frame in self.frames:
            lines.append(f"  {frame.file}:{frame.line} in {frame.function}")
            lines += [f"    {name} = {value}" for name, value in frame.variables.items()]
        if self.output.pieces:
            lines += ["output:", str(self.output).rstrip("\n")]
        return "\n".join([*lines, "", facts["traceback"]])

    def __repr__(self) -> str:
        return f"<capsule of node {self.name!r}: {self.facts['error']}>"

    def _loaded(self) -> Any:
        unpickler = pickle.Unpickler(io.BytesIO(self._pickled))
        try:
            *_, whole = (unpickler.load() for _ in range(self.facts["pickles"]))
        except ModuleNotFoundError as error:
            package, versions = (error.name or "").partition(".")[0], self.facts["packages"]
            known = self.facts["modules"].get(package, package)
            wanted = f"{known}=={versions[known]}" if known in versions else package
            raise CapsuleError(f"{self._source} needs {wanted!r}, which is not installed here: {error}") from error
        except Exception as error:
            raise CapsuleError(f"the call of {self._source} cannot be loaded here: {described(error)}") from error
        return whole

    def _from_store(self, name: str, path: Sequence[Any]) -> Any:
        if self._store is None:
            raise CapsuleError(
                f"{self._source} takes the stored result of {name!r} from the store of the run: open(path, store=...)"
            )
        try:
            value = self._store.read_task(self.facts["workflow_name"], name)
        except StorageError as error:
            raise CapsuleError(f"{self._source} takes a stored result that there is not: {error}") from error
        for key in path:
            value = value[key]
        return value


def open(path: str | os.PathLike[str], *, store: Store | None = None) -> Capsule:
    """Return the capsule in a file.

    Args:
        path: of the file.
        store: that of the run, where large arguments are.

    Raises:
        CapsuleError: there is no such file, or it is no capsule.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise CapsuleError(f"{fspath(path)!r} cannot be read: {error}") from error
    return Capsule(content, repr(fspath(path)), store)


def stored(store: Store, workflow_name: str, name: str) -> Capsule:
    """Return the capsule of a node that failed, from the store of the run.

    Args:
        store: the store.
        workflow_name: the workflow.
        name: the full name of the node.

    Raises:
        TaskNotFound: the store has no capsule of this node.
    """
    content = store.read_task(capsules_of(workflow_name), name)
    return Capsule(content, f"the capsule of {name!r}", store)


def names(store: Catalogue, workflow_name: str) -> list[str]:
    """Return the names of the nodes of which a store has capsules, sorted.

    Args:
        store: the store.
        workflow_name: the workflow.
    """
    return store.list_tasks(capsules_of(workflow_name))
