"""Changes of the code of a workflow between the time it was stored and the time it is resumed."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING

from ray import cloudpickle

from functionfuse.fingerprint.project import file_of

from .._dag.code import code_of, codes_of
from .._dag.serialization import deserialize_arguments
from ..common import WorkflowStatus
from ..exceptions import WorkflowNotResumableError
from .environment import state_of_driver

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._dag.graphs import GraphRun
    from .._dag.spec import TaskSpec
    from .references import RecordLocation


def refuse_other(workflow_id: str, status: WorkflowStatus, stored: bytes, wanted: bytes) -> None:
    """Refuse to let a stored workflow go on in the place of one that differs.

    Args:
        workflow_id: of both.
        status: of the stored one.
        stored: its graph, pickled.
        wanted: the graph of the other one.

    Raises:
        WorkflowNotResumableError: tasks are in one of them only, or have other code; or the stored one was cancelled.
    """
    if status is WorkflowStatus.SUCCESSFUL:
        return
    further = "resume() lets it go on, delete() forgets it."
    if status is WorkflowStatus.CANCELED:
        raise WorkflowNotResumableError(workflow_id, f"It was cancelled; {further}")
    codes, others = ({task.name: task.code for task in pickle.loads(graph).tasks} for graph in (stored, wanted))
    known = {name for name in codes.keys() & others.keys() if codes[name] and others[name]}
    changed = {name for name in known if codes[name] != others[name]} | (codes.keys() ^ others.keys())
    if changed:
        raise WorkflowNotResumableError(
            workflow_id, f"It is stored with other code of {_listed(sorted(changed))}; {further}"
        )


def refuse_changed(workflow_id: str, changed: list[str]) -> None:
    """Refuse to let a workflow go on of which these tasks have changed.

    Args:
        workflow_id: the id of the workflow.
        changed: the names of the tasks.

    Raises:
        WorkflowNotResumableError: there are any.
    """
    if changed:
        raise WorkflowNotResumableError(
            workflow_id,
            f"The code of {_listed(changed)} has changed since it was stored; allow_changed_code=True lets it go on.",
        )


def changed_code(location: RecordLocation, tasks: Sequence[TaskSpec], driver: bytes) -> list[str]:
    """Return the names of tasks, or of nodes in them, whose functions have other code here than when stored.

    Args:
        location: where the records of the workflow are.
        tasks: the tasks.
        driver: the pickled state of the driver that wants to go on.
    """
    if driver:
        state_of_driver(driver).take_over(())
    return [name for task in tasks for name in _changed(location, task)]


def _changed(location: RecordLocation, task: TaskSpec) -> list[str]:
    if task.kind == "graph":
        (serialized,), _ = deserialize_arguments(task.arguments, (), (), ())
        graph_run: GraphRun = cloudpickle.loads(serialized)
        codes = codes_of(graph_run.spec.steps)
        return [name for name, code in graph_run.codes.items() if codes[name] != code]
    record = location.journal.get(f"fn/{task.function}")
    if record is None:
        return []  # an error that is raised when it is to run
    function = cloudpickle.loads(record[1])
    is_known = function.__module__ == "__main__" or file_of(function.__module__) is not None
    return [task.name] if is_known and code_of(function) != task.code else []


def _listed(names: list[str]) -> str:
    shown = ", ".join(map(repr, names[:3]))
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown
