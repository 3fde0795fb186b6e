"""Making failure capsules, where a call failed; `functionfuse.backends.capsule` reads them."""

from __future__ import annotations

import importlib
import io
import json
import os
import platform
import re
import sys
import threading
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from functionfuse.backends.calls import called
from functionfuse.backends.serialization import Serializer
from functionfuse.backends.texts import describe_named, described, shown, traceback_text
from functionfuse.decorator import WorkflowClass, WorkflowFunction
from functionfuse.fingerprint.project import in_project, is_of_project

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import ModuleType, TracebackType

    from functionfuse.backends.calls import Call
    from functionfuse.backends.recording import CallRecord, Recording

FORMAT = 1
"""The version of the format; a release reads its own, and older ones."""

MANIFEST, CALL = "capsule.json", "call.pickle"
"""The entries of a capsule: what it says, and the call as several pickles with one memo, the last of which is whole."""

_LARGE = 1 << 20  # bytes from which on an argument is a reference to the store, if that has it
_SHORT = 200  # characters of the representation of a variable
_MOST_VARIABLES = 50  # of a frame
_MOST_FRAMES = 50
_lock = threading.Lock()  # modules are pickled by value for all threads of a process


class FrameInfo(NamedTuple):
    """A frame of the traceback of a failure, of code that is not Function Fuse's.

    Attributes:
        file: of the code.
        line: that was running.
        function: the name of the function.
        variables: its local variables as short texts.
    """

    file: str
    line: int
    function: str
    variables: Mapping[str, str]


def with_capsule(record: CallRecord, call: Call, error: BaseException, recording: Recording) -> CallRecord:
    """Return the record of a call that failed with its capsule, or with the reason why there is none.

    Args:
        record: what was recorded of the call.
        call: that failed.
        error: what it raised.
        recording: says how large the capsule may be.
    """
    try:
        return record._replace(capsule=_made_capsule(record, call, error, recording))
    except Exception as problem:
        return record._replace(problem=described(problem))


def _made_capsule(record: CallRecord, call: Call, error: BaseException, recording: Recording) -> bytes:
    """Return a capsule as the content of a file."""
    pickler = _CallPickler(recording.pickler, recording.capsule_bytes)
    by_reference, left_out = _pickle(call, recording, pickler)
    packages, modules = _packages()
    facts = {
        "format": FORMAT,
        "functionfuse": packages.get("functionfuse", ""),
        "name": recording.name,
        "workflow_name": recording.workflow_name,
        "function": call.target.qualname,
        "called": called(call),
        "error": described(error),
        "traceback": traceback_text(error),
        "frames": [frame._asdict() for frame in _frames(error.__traceback__)],
        "output": record.output,
        "usage": record.usage,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": packages,
        "modules": modules,
        "variables": sorted(os.environ),
        "pickles": pickler.count,
        "stored": by_reference,
        "left_out": left_out,
    }
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        file.writestr(MANIFEST, json.dumps(facts, default=shown), zipfile.ZIP_DEFLATED)
        file.writestr(CALL, pickler.content())
    return stream.getvalue()


def write(content: bytes, folder: str | os.PathLike[str], name: str) -> Path:
    """Write a capsule to a folder, and return the path of the file.

    Args:
        content: of the file.
        folder: the folder, which is made if it is missing.
        name: of the node; a later failure of the same node replaces the file.
    """
    base = Path(folder)
    base.mkdir(parents=True, exist_ok=True)
    safe = re.sub(r"[^\w.,()\[\]=+ -]", "_", name)[:150]
    if safe != name:  # two names may look the same
        from hashlib import blake2b

        safe = f"{safe}-{blake2b(name.encode('utf-8', 'surrogatepass'), digest_size=4).hexdigest()}"
    path = base / f"{safe}.capsule"
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.write_bytes(content)
    part.replace(path)
    return path


def _pickle(call: Call, recording: Recording, pickler: _CallPickler) -> tuple[list[Any], dict[str, str]]:
    """Pickle a call; return which arguments it takes from the store, and what is not in it, with the reason."""
    values: dict[int | str, Any] = dict(enumerate(call.args))
    values.update(call.kwargs)
    stored_as = {key: (name, list(path)) for key, name, path in recording.stored}
    by_reference, left_out = [], {}
    for key, value in list(values.items()):
        why = pickler.add(value, _LARGE if key in stored_as else None)
        if why:
            values[key] = None
            if key in stored_as:
                by_reference.append([key, *stored_as[key]])
            else:
                left_out[f"argument {key!r}"] = why
    options = call._asdict()
    for name in ("target", "args", "kwargs", "instance", "recording"):
        del options[name]
    for name, value in (("the object", call.instance), ("the function", call.target), ("the options", options)):
        why = pickler.add(value)
        if why:
            left_out[name] = why
    if not left_out:
        args = tuple(values[index] for index in range(len(call.args)))
        pickler.finish((call.target, call.instance, args, {key: values[key] for key in call.kwargs}, options))
    return by_reference, left_out


class _TooLargeError(Exception):
    """More bytes than a part of a capsule may have."""


class _Bounded(io.BytesIO):
    """A file in memory that takes so many bytes and no more.

    Attributes:
        begin: where the part begins that is written.
        most: bytes that the part may have.
    """

    begin = most = 0

    def write(self, data: Any) -> int:
        if self.tell() + memoryview(data).nbytes > self.begin + self.most:
            raise _TooLargeError(f"it takes more than {self.most} bytes")
        return super().write(data)


class _CallPickler:
    """Pickles the parts of a call one after the other; by value what is of the user's project, as far as possible.

    What parts share stays shared.

    Args:
        module: cloudpickle, or a copy of it.
        most: bytes of all parts.

    Attributes:
        count: how many pickles there are.
    """

    def __init__(self, module: str, most: int) -> None:
        self._module: Any = importlib.import_module(module)
        self._most = most
        self._file = _Bounded()
        by_value, by_name = _by_value(self._module.Pickler), self._module.Pickler
        self._ways = [
            (Serializer(by_value).pickler(self._file), list(_modules_of_project())),
            (Serializer(by_name).pickler(self._file), []),
        ]
        self._memo: Any = {}
        self.count = 0

    def add(self, value: Any, most: int | None = None) -> str:
        """Pickle a part of the call, and return why it cannot be, or "".

        Args:
            value: the part.
            most: bytes that it may take; by default all that are left.
        """
        file, why = self._file, ""
        file.begin = file.tell()
        left = self._most - file.begin
        file.most = left if most is None else min(most, left)
        for pickler, modules in self._ways:
            pickler.memo = self._memo
            try:
                self._dump(pickler, value, modules)
            except _TooLargeError as error:
                why = str(error)
            except Exception as error:
                why = f"{type(value).__name__} cannot be pickled: {described(error)}"
            else:
                self._memo = pickler.memo.copy()
                self.count += 1
                return ""
            file.seek(file.begin)
            file.truncate()
        return why

    def finish(self, whole: Any) -> None:
        """Pickle the whole, for which its parts are known already."""
        self._most = sys.maxsize
        why = self.add(whole)
        if why:
            raise ValueError(why)

    def content(self) -> bytes:
        """Return all pickles."""
        return self._file.getvalue()

    def _dump(self, pickler: Any, value: Any, modules: list[ModuleType]) -> None:
        with _lock:
            for module in modules:
                self._module.register_pickle_by_value(module)
            try:
                pickler.dump(value)
            finally:
                for module in modules:
                    self._module.unregister_pickle_by_value(module)


def _by_value(pickler: type[Any]) -> type[Any]:
    """Return a pickler that pickles what stands for a decorated function or class, not the name of it."""

    class ByValue(pickler):  # type: ignore[misc]  # its base is known at run time
        def reducer_override(self, obj: Any) -> Any:
            if isinstance(obj, WorkflowFunction | WorkflowClass) and in_project(obj.__module__):
                return type(obj), (obj.function if isinstance(obj, WorkflowFunction) else obj.cls,)
            return super().reducer_override(obj)

    return ByValue


def _modules_of_project() -> Iterator[ModuleType]:
    for name, module in list(sys.modules.items()):
        if name != "__main__" and getattr(module, "__name__", None) == name and is_of_project(module):
            yield module


def _frames(traceback: TracebackType | None) -> Iterator[FrameInfo]:
    found = []
    while traceback is not None:
        frame = traceback.tb_frame
        if not frame.f_globals.get("__name__", "").startswith("functionfuse.backends."):
            found.append((frame, traceback.tb_lineno))
        traceback = traceback.tb_next
    for frame, line in found[-_MOST_FRAMES:]:
        variables = {
            name: describe_named(name, value, _SHORT)
            for name, value in list(frame.f_locals.items())[:_MOST_VARIABLES]
            if not name.startswith("@py_")  # of pytest
        }
        yield FrameInfo(frame.f_code.co_filename, line, frame.f_code.co_name, variables)


def _packages() -> tuple[dict[str, str], dict[str, str]]:
    """Return the versions of installed packages, and the packages of top-level modules with other names."""
    from importlib.metadata import distributions, packages_distributions

    versions = {name: found.version for found in distributions() if (name := found.metadata["Name"]) is not None}
    modules = {module: names[0] for module, names in packages_distributions().items() if module not in names}
    return versions, modules
