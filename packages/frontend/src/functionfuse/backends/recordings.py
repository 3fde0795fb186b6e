"""What a run records of its calls, and where it keeps failure capsules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from functionfuse.backends.recording import CallRecord, Output, Recording, Usage
from functionfuse.plan import Ref
from functionfuse.stores import capsules_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from functionfuse.backends.calls import Call
    from functionfuse.backends.frames import Task
    from functionfuse.backends.spec import RunSpec
    from functionfuse.plan import Step
    from functionfuse.previews import Preview
    from functionfuse.stores import Store

_PREVIEWED = 0.001  # seconds of a call; what is made in less is made faster than its preview


class Recordings:
    """What one run records of its calls, and where it keeps failure capsules.

    Attributes:
        running: the location of the `RunningCalls` that receive calls when they run; "" for none.

    Args:
        spec: the run.
        store: what has its results, and the capsules, if `spec` says so.
        elsewhere: names of steps of other parts of the plan whose results are stored.
        preview: makes previews of results; None for no previews.
        records: whether output and usage are recorded.
    """

    def __init__(
        self,
        spec: RunSpec,
        store: Store | None,
        elsewhere: Collection[str] = (),
        *,
        preview: Callable[..., Preview] | None = None,
        records: bool = True,
    ) -> None:
        self._workflow_name = spec.workflow_name
        self._place = spec.capsules
        self._pickler = "" if spec.capsules is None else spec.pickler
        self._most = spec.capsule_bytes
        self._store = store
        self._elsewhere = elsewhere
        self._preview = preview
        self._wanted = {ref.step for ref in spec.wanted}
        self.records = records
        self.running = ""

    def of(self, task: Task) -> Recording:
        """Return what is recorded of the call of a task."""
        preview, after = self._previewed(task)
        recording = Recording(
            task.name,
            self._workflow_name,
            preview=preview,
            preview_after=after,
            records=self.records,
            running=self.running,
        )
        if not self._pickler:
            return recording
        stored = () if self._store is None else tuple(self._stored(task))
        return recording._replace(pickler=self._pickler, capsule_bytes=self._most, stored=stored)

    def _previewed(self, task: Task) -> tuple[Callable[..., Preview] | None, float]:
        """Return what makes a preview, and how long the call takes at least; what was asked for always has one."""
        frame, step = task
        if step.options.preview is False or step.target.kind == "constructor":
            return None, 0.0
        return self._preview, 0.0 if frame.parent is None and step.name in self._wanted else _PREVIEWED

    def of_lost(self, call: Call, error: BaseException) -> CallRecord | None:
        """Return the record of a call whose process died, with a capsule that is made here.

        Args:
            call: the call.
            error: says that its process died.
        """
        recording = call.recording
        if recording is None or not recording.pickler:
            return None
        from functionfuse.backends.capsule_making import with_capsule  # which is needed after a failure only

        return with_capsule(CallRecord(Usage(0.0, 0.0, 0, 0, ""), Output()), call, error, recording)

    def keep(self, name: str, record: CallRecord) -> str:
        """Keep the capsule of a call that failed, and return a note for its error; an empty one without a capsule.

        Args:
            name: the full name of the node.
            record: of the call.
        """
        if record.problem:
            return f"no failure capsule: {record.problem}"
        if record.capsule is None or self._place is None:
            return ""
        try:
            if self._place:
                from functionfuse.backends.capsule_making import write

                return f"failure capsule: {write(record.capsule, self._place, name)}"
            assert self._store is not None
            self._store.save(capsules_of(self._workflow_name), name, record.capsule)
        except Exception as problem:  # a disk that is full, for example; the failure itself counts
            return f"no failure capsule: {type(problem).__name__}: {problem}"
        return (
            f"failure capsule: functionfuse.backends.capsule.stored(store, {self._workflow_name!r}, {name!r}).replay()"
        )

    def _stored(self, task: Task) -> Any:
        """Yield which arguments are results that the store has."""
        frame, step = task
        for key, value in (*enumerate(step.args), *step.kwargs.items()):
            if type(value) is Ref and value.step not in frame.failed:
                other = frame.plan.by_name.get(value.step)
                if value.step in self._elsewhere if other is None else is_stored(other):
                    yield key, frame.full_name(value.step), value.path


def is_stored(step: Step) -> bool:
    """Return True if the result of a step is stored, where there is a store."""
    return step.target.kind != "constructor" and not step.options.log
