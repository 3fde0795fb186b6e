"""The store on a disk of one machine in a Ray cluster."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from functools import cached_property, partial, wraps
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from functionfuse._warning import warn_user
from functionfuse.errors import OptionError, StorageError
from functionfuse.original import takes_original_names

from .._file.store import FileStore, check_flag
from .._record.reading import footer_of, read_record, verify
from .._record.writing import digest_of_content, write_record
from .._serialize.serializers import SerializerRegistry
from .._store.bound import WorkflowReader, WorkflowSaver, WorkflowStarter
from .._store.collecting import check_keep_runs, check_max_size
from .._store.importing import import_original
from .._store.lookup import ALL_RESULTS
from .._store.results import Results
from .._store.store import make_draft
from .disk import perform, perform_for_client
from .transfer import FileNeeded, NoBlobs, RecordParts, RemoteBlobs

if TYPE_CHECKING:
    from collections.abc import Callable

    from .._record.format import Footer
    from .._serialize.serializers import Serializer

P = ParamSpec("P")
R = TypeVar("R")

_CHECK_AFTER = 5.0  # seconds without a response after which the cluster is looked at
_PLACEMENT = {"scheduling_strategy", "label_selector"}  # what else decides where Ray runs a task
_SECRET = ("_redis_password", "_redis_username", "runtime_env")  # of ray.init; the last may hold variables


def _on_disk_machine(verb: Callable[Concatenate[FileStore, P], R]) -> Callable[Concatenate[RayStore, P], R]:
    """Return a method that calls this one of the file store on the machine with the disk."""

    @wraps(verb)
    def call(self: RayStore, /, *args: P.args, **kwargs: P.kwargs) -> R:
        result: R = self._call(verb.__name__, *args, **kwargs)
        return result

    return call


class RayStore:
    """Keeps results in a folder of one machine of a Ray cluster, for all processes of the cluster. Needs Ray.

    Every verb is that of `FileStore`, called in a Ray task on that machine.

    Args:
        path: the folder there, made when it is not there; a relative path is taken from where this process is now,
            which makes it an absolute one, and `~` is the home folder there.
        remoteArgs: options of Ray tasks that only the machine with the disk fits, like
            `{"resources": {"_disk": 0.001}}`. Unless they say so, calls take no CPU, and are tried again when
            their process dies.
        rayInitArgs: arguments for `ray.init` where Ray is not initialised, like `{"address": "auto"}`.
        timeout: seconds to wait for a result; without it as long as some machine fits `remoteArgs`.
        durable: as for the file store.
        keep_runs: as for the file store.
        max_size: as for the file store.

    Raises:
        OptionError: an argument cannot be used.
        StorageError: no machine of the cluster fits.
    """

    def __init__(
        self,
        path: str,
        remoteArgs: Mapping[str, Any],  # noqa: N803  spelled as in the configurations of the specification
        rayInitArgs: Mapping[str, Any] | None = None,  # noqa: N803
        timeout: float | None = None,
        *,
        durable: bool = True,
        keep_runs: int | None = 10,
        max_size: int | str | None = None,
    ) -> None:
        self.always_read = False
        """When true, a backend passes on what it reads back after saving, not what the function returned."""
        self.path = _checked_path(path)
        self._remote_args = _checked_mapping("remoteArgs", remoteArgs)
        self._init_args = _checked_mapping("rayInitArgs", {} if rayInitArgs is None else rayInitArgs)
        self._timeout = _checked_timeout(timeout)
        check_flag("durable", durable)
        self.durable = durable
        check_keep_runs(keep_runs)
        check_max_size(max_size)
        self.keep_runs = keep_runs
        self.max_size = max_size
        self.serializers = SerializerRegistry()
        self._serialized = b""
        self._tasks  # noqa: B018  better now than after the first long task
        if rayInitArgs is not None and not _ray().is_initialized():
            _ray().init(**self._init_args)
        if _ray().is_initialized():
            self.check_cluster()
            self.list_workflows()  # makes the folder, or says why it cannot be used

    # The verbs of the file store

    new_workflow = _on_disk_machine(FileStore.new_workflow)
    list_workflows = _on_disk_machine(FileStore.list_workflows)
    remove_workflow = _on_disk_machine(FileStore.remove_workflow)
    info = _on_disk_machine(FileStore.info)
    has_task = _on_disk_machine(FileStore.has_task)
    file_exists = has_task
    has_tasks = _on_disk_machine(FileStore.has_tasks)
    find_results = _on_disk_machine(FileStore.find_results)
    infos = _on_disk_machine(FileStore.infos)
    result_info = _on_disk_machine(FileStore.result_info)
    link_results = _on_disk_machine(FileStore.link_results)
    equal_results = _on_disk_machine(FileStore.equal_results)
    equate_results = _on_disk_machine(FileStore.equate_results)
    list_tasks = _on_disk_machine(FileStore.list_tasks)
    remove_task = _on_disk_machine(FileStore.remove_task)
    check_workflow = _on_disk_machine(FileStore.check_workflow)
    gc = _on_disk_machine(FileStore.gc)
    collect = _on_disk_machine(FileStore.collect)
    runs = _on_disk_machine(FileStore.runs)
    run = _on_disk_machine(FileStore.run)
    diff = _on_disk_machine(FileStore.diff)

    @takes_original_names
    def save(
        self,
        workflow_name: str,
        task_name: str,
        obj: object,
        *,
        recipe: Mapping[str, str] | None = None,
        meta: Mapping[str, Any] | None = None,
        create: bool = False,
        uid: str | None = None,
    ) -> Footer:
        """Store a result, or what an ObjectRef refers to, and return its footer.

        The result that a reference stands for goes to the disk without passing through this process; its arrays are
        stored as ones that can be written to.

        Args:
            workflow_name: of the workflow.
            task_name: of the result.
            obj: the result, or an ObjectRef of it.
            recipe: what the result is made from, strings to strings; kept in the footer.
            meta: further facts that JSON can hold; kept in the footer.
            create: never replace a valid result: LostRace.
            uid: of this save; a retry with the same one is no lost race.

        Raises:
            LostRace: with `create`, another writer was first.
            StorageError: the machine is unavailable, or the result could not be written.
        """
        draft = make_draft(workflow_name, task_name, recipe, meta, uid, create=create)
        if not _is_object_ref(obj):
            parts = RecordParts()
            try:
                footer = write_record(parts, NoBlobs(), obj, draft, self.serializers, None, {})
                return self._call("save_record", draft, footer, *parts.as_arguments(), create=create)  # type: ignore[no-any-return]
            except FileNeeded:
                pass
        return self._call(  # type: ignore[no-any-return]
            "save", workflow_name, task_name, obj, recipe=draft.recipe, meta=draft.meta, create=create, uid=draft.uid
        )

    def read_task(self, workflow_name: str, task_name: str, *, check: bool | None = None) -> Any:
        """Return the stored result, which the caller may change freely.

        The bytes are checked here, after their way through the cluster.

        Args:
            workflow_name: of the workflow.
            task_name: of the result.
            check: whether to compare the content with its checksums; a signature is always checked.

        Raises:
            TaskNotFound: there is none.
            CorruptRecord: the bytes are not what was written.
            StorageError: the machine is unavailable.
        """

        def fetch() -> tuple[memoryview, Footer]:
            record = memoryview(bytearray(self._call("record", workflow_name, task_name)))
            footer = footer_of(record, None)
            if check is not False:
                verify(record, footer)
            return record, footer

        def blobs_of(footer: Footer) -> RemoteBlobs:
            name = ALL_RESULTS if footer.get("shared") else workflow_name
            return RemoteBlobs(self.caller_of(name), f"{self.path}/{name}")

        return read_record(fetch, self.serializers, blobs_of)

    def content_digest(self, obj: object) -> str:
        """Return what the footer of a result would have as `content_digest`; as for the file store.

        Args:
            obj: the result, which is not stored.
        """
        return digest_of_content(obj, self.serializers, {})

    def results(self, workflow_name: str, pattern: str = "*") -> Results:
        """Return what there is, without reading it: a sequence of rows; as for the file store.

        Args:
            workflow_name: of the workflow.
            pattern: a glob over names.
        """
        return Results(workflow_name, self._call("listed", workflow_name, pattern), partial(self._call, "rows"))

    def import_original(self, path: str | os.PathLike[str], *, replace: bool = False) -> dict[str, list[str]]:
        """Save the results in a folder of the original Function Fuse; as for the file store.

        The folder is one of the machine of this process. Dask arrays are not imported: they are read where the disk
        of the store is.

        Args:
            path: of the folder that the original's store had.
            replace: also save those whose names have results; else these stay.

        Raises:
            OptionError: an argument cannot be used.
            StorageError: the path is not a folder of the original, or a result could not be written.
        """
        return import_original(self, self.serializers, path, replace=replace)

    def register_persistent_serializers(self, *serializers: Serializer | type) -> None:
        """Use these serializers for saving and loading; as for the file store."""
        for serializer in serializers:
            self.serializers.register(serializer)
        self._serialized = b""

    def get_writer_funcs(self, workflow_name: str) -> tuple[WorkflowStarter, WorkflowReader, WorkflowSaver]:
        """Return `(new_workflow, read_object, save_func)`, bound to a workflow; as for the file store."""
        return (
            WorkflowStarter(self, workflow_name),
            WorkflowReader(self, workflow_name),
            WorkflowSaver(self, workflow_name),
        )

    def config(self) -> dict[str, Any]:
        """Return what `storage_factory` makes this store from again; without secrets."""
        options = {
            "path": self.path,
            "remoteArgs": dict(self._remote_args),
            "rayInitArgs": _without_secrets(self._init_args) or None,
            "timeout": self._timeout,
            "durable": self.durable,
            "keep_runs": self.keep_runs,
            "max_size": self.max_size,
        }
        return {"kind": "ray", "options": options}

    # For backends on Ray

    def submit(self, verb: str, *args: Any, **kwargs: Any) -> Any:
        """Call a verb of the store without waiting, and return the ObjectRef of its result.

        ObjectRefs among `args` and in `meta` are passed on as what they refer to: `submit("save", workflow, task, ref)`
        stores a result once it exists, and `submit("read_task", workflow, task)` is a reference to one.

        Args:
            verb: name of the method.
            args: its positional arguments.
            kwargs: its keyword arguments.
        """
        if not self._serialized:
            # Ray's own: classes that travel by value are the same there as those of the results.
            self._serialized = _ray().cloudpickle.dumps(self)
        from ray.util.client import ray as client

        task = self._tasks[perform_for_client if client.is_connected() else perform]
        return task.remote(self._serialized, verb, kwargs, *args)

    def caller_of(self, workflow_name: str) -> Callable[..., Any]:
        """Return a function that calls methods of `Disk` for a workflow: of the name of a method and its arguments."""
        return partial(self._call_of, workflow_name)

    def check_cluster(self) -> None:
        """Check that a machine of the cluster fits `remoteArgs`.

        Raises:
            StorageError: Ray is not initialised, or no machine fits.
        """
        ray = _ray()
        if not ray.is_initialized():
            raise StorageError(f"{self!r} is reached through Ray, which is not initialised; pass 'rayInitArgs'")
        wanted = _wanted(self._remote_args)
        machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        fitting = sum(all(machine.get(name, 0) >= amount for name, amount in wanted.items()) for machine in machines)
        if fitting > 1 and not _PLACEMENT.intersection(self._remote_args):
            warn_user(f"{fitting} machines fit {self!r}: each keeps other results, unless they share the folder")
        if fitting:
            return
        offered = sorted({name for machine in machines for name in machine if not name.startswith("node:")})
        raise StorageError(
            f"no machine of the Ray cluster offers {wanted!r}, which store {self.path!r} is on; "
            f"{len(machines)} machines offer {', '.join(offered)}"
        )

    # How

    def __repr__(self) -> str:
        return f"RayStore({self.path!r}, remoteArgs={dict(self._remote_args)!r})"

    _repr_html_ = FileStore._repr_html_

    def __getstate__(self) -> dict[str, Any]:
        state = {**self.__dict__, "_init_args": _without_secrets(self._init_args), "_serialized": b""}
        state.pop("_tasks", None)
        return state

    @cached_property
    def _tasks(self) -> Mapping[Callable[..., Any], Any]:
        ray, options = _ray(), {"num_cpus": 0, "max_retries": 3, **self._remote_args}
        try:
            return {call: ray.remote(call).options(**options) for call in (perform, perform_for_client)}
        except (TypeError, ValueError) as error:
            raise OptionError(f"option 'remoteArgs': {error}") from error

    def _call_of(self, workflow_name: str, verb: str, *args: Any) -> Any:
        return self._call(verb, workflow_name, *args)

    def _call(self, verb: str, *args: Any, **kwargs: Any) -> Any:
        """Call a method of the store on its machine, and wait for its result."""
        ray = _ray()
        if not ray.is_initialized():
            self.check_cluster()
        reference = self.submit(verb, *args, **kwargs)
        deadline = None if self._timeout is None else time.monotonic() + self._timeout
        while True:
            left = _CHECK_AFTER if deadline is None else max(0.0, min(_CHECK_AFTER, deadline - time.monotonic()))
            if ray.wait([reference], timeout=left)[0]:
                break
            try:
                self.check_cluster()
            except StorageError:
                ray.cancel(reference)
                raise
            if deadline is not None and time.monotonic() >= deadline:
                ray.cancel(reference)
                raise StorageError(f"no response from the machine of {self!r} within {self._timeout:g} s to {verb!r}")
        try:
            return ray.get(reference)
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, Exception) and not isinstance(error.cause, ray.exceptions.RayError):
                raise error.cause from None
            raise StorageError(f"{verb!r} failed on the machine of {self!r}: {error.cause}") from error
        except ray.exceptions.RayError as error:
            raise StorageError(f"{verb!r} failed on the machine of {self!r}: {error}") from error


def _ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise StorageError("a store of kind 'ray' needs Ray: pip install 'functionfuse-storage[ray]'") from error
    return ray


def _is_object_ref(obj: object) -> bool:
    """Return True if an object is an ObjectRef, of a process of the cluster or of a Ray client."""
    return isinstance(obj, _ray().ObjectRef) or type(obj).__name__ == "ClientObjectRef"


def _wanted(remote_args: Mapping[str, Any]) -> dict[str, float]:
    """Return the resources that a machine must have to run a task of these options."""
    named = {"num_cpus": "CPU", "num_gpus": "GPU", "memory": "memory"}
    amounts = {resource: remote_args.get(option) for option, resource in named.items()}
    return {name: amount for name, amount in amounts.items() if amount} | dict(remote_args.get("resources") or {})


def _without_secrets(init_args: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in init_args.items() if name not in _SECRET}


def _checked_path(path: object) -> str:
    text = os.fspath(path) if isinstance(path, os.PathLike) else path
    if not isinstance(text, str) or not text:
        raise OptionError(f"option 'path' must be the path of a folder, got {path!r}")
    # Not from where a worker of Ray is: that folder goes with the worker.
    return text if text.startswith("~") else os.path.abspath(text)  # noqa: PTH100  ".." goes, links stay


def _checked_mapping(name: str, value: object) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise OptionError(f"option {name!r} must be a mapping, got {value!r}")
    return dict(value)


def _checked_timeout(timeout: object) -> float | None:
    if timeout is None:
        return None
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not timeout > 0:
        raise OptionError(f"option 'timeout' must be a number of seconds above 0, got {timeout!r}")
    return float(timeout)
