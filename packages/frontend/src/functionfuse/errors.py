"""Every error that Function Fuse raises on purpose.

::

    FunctionFuseError
    |-- UsageError (TypeError)               wrong arguments, or a node used as if it were a value
    |-- NodeAttributeError (AttributeError)   an attribute of a node, which has no value yet
    |-- GraphError
    |   |-- DuplicateNameError (ValueError)    two nodes with one name
    |   |-- InvalidNameError (ValueError)      a name that is not a non-empty string
    |   |-- UnknownNodeError (LookupError)     a node, or a name, that is not in this graph
    |   |-- CycleError (ValueError)            an edit that makes a node need itself
    |   |-- EditError (ValueError)             an edit that cannot be made
    |   `-- PatternError (ValueError)          a pattern that is not a regular expression
    |-- OptionError (ValueError)               an option or argument that cannot be used
    |   `-- ProfileError                         a file of settings that cannot be used; it has the file and the line
    |-- PlanError                              a plan that this backend cannot run
    |-- EngineError                            the engine ended the run, or could not start it
    |   |-- EngineUnreachable (ConnectionError)   its server does not answer
    |   `-- RunCancelled                       the run was cancelled in the engine
    |-- NodeError                              a node failed; the original exception is its __cause__
    |   |-- NodeTimeoutError (TimeoutError)    it ran longer than its time limit
    |   `-- WorkerDiedError                    the process that ran it ended
    |-- CapsuleError                           a failure capsule that cannot be read, or replayed here
    |-- WorkflowFailed                         some nodes failed with on_error="continue"; carries the report
    `-- StorageError
        |-- TaskNotFound (FileNotFoundError)   nothing is stored under this name
        |-- CorruptRecord (ValueError)         stored bytes that are not what was written
        |   `-- BadSignature                   not signed, or not signed with this key
        |-- UnsupportedRecord                  written by a newer release
        |-- MissingSerializer (LookupError)    needs a serializer that is not registered
        `-- LostRace (FileExistsError)         another writer stored this result first
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing takes longer to import than this package
if TYPE_CHECKING:
    from typing import Protocol

    class Report(Protocol):
        """What became of every step of a run; `functionfuse.backends.report.RunReport` is one."""

        finished: list[str]
        reused: list[str]
        failed: dict[str, NodeError]
        skipped: dict[str, str]


class FunctionFuseError(Exception):
    """Base of every error in this module."""


class UsageError(FunctionFuseError, TypeError):
    """A decorated function got wrong arguments, or a node is used as if it were a value."""


class NodeAttributeError(FunctionFuseError, AttributeError):
    """An attribute of a node was read or set; a node has no value before the workflow runs."""


class GraphError(FunctionFuseError):
    """A graph, or an edit of one, is not valid."""


class DuplicateNameError(GraphError, ValueError):
    """Two nodes have one name."""


class InvalidNameError(GraphError, ValueError):
    """A name is not a non-empty string."""


class UnknownNodeError(GraphError, LookupError):
    """A node, or a name, is not in this graph."""


class CycleError(GraphError, ValueError):
    """An edit makes a node need its own result."""


class EditError(GraphError, ValueError):
    """An edit cannot be made; what was edited before stays."""


class PatternError(GraphError, ValueError):
    """A pattern is not a regular expression."""


class OptionError(FunctionFuseError, ValueError):
    """An option, or the argument of a workflow's method, cannot be used."""


class ProfileError(OptionError):
    """A profile, or a file of needs, cannot be used; the message has the file, the line and the key."""


class PlanError(FunctionFuseError):
    """The plan holds steps that this backend cannot run; nothing was started."""


class EngineError(FunctionFuseError):
    """The engine ended the run, or could not start it."""


class EngineUnreachable(EngineError, ConnectionError):  # noqa: N818
    """The server of the engine does not answer."""


class RunCancelled(EngineError):  # noqa: N818
    """The run was cancelled in the engine; what had finished is stored."""


class NodeError(FunctionFuseError):
    """A node failed.

    ``__cause__`` is the exception that the user's function raised.

    Attributes:
        name: the node's name; ``parent/child`` for a node of a dynamic graph.
        function: the qualified name of what was called.
    """

    def __init__(self, message: str, *, name: str = "", function: str = "") -> None:
        super().__init__(message)
        self.name = name
        self.function = function


class NodeTimeoutError(NodeError, TimeoutError):
    """A node ran longer than the limit of ``set_timeout``."""


class WorkerDiedError(NodeError):
    """The process that ran a node ended before it returned an outcome."""


class CapsuleError(FunctionFuseError):
    """A failure capsule cannot be read, or its call cannot be made here; the message says what is missing."""


class WorkflowFailed(FunctionFuseError):  # noqa: N818  the name is part of the public interface
    """Some nodes failed while ``on_error="continue"`` ran all that does not depend on them.

    Attributes:
        report: what became of every step; ``report.failed`` maps names to the `NodeError` of each.
    """

    def __init__(self, message: str, report: Report) -> None:
        super().__init__(message)
        self.report = report

    def __reduce__(self) -> tuple[type[WorkflowFailed], tuple[str, Report]]:
        return type(self), (self.args[0], self.report)


class StorageError(FunctionFuseError):
    """A store cannot do what was requested; what it held before is unchanged."""


class TaskNotFound(StorageError, FileNotFoundError):  # noqa: N818
    """Nothing is stored under this name."""


class CorruptRecord(StorageError, ValueError):  # noqa: N818
    """Stored bytes are not what was written; they are never returned as data."""


class BadSignature(CorruptRecord):
    """A record is not signed, or not with this store's key."""


class UnsupportedRecord(StorageError):  # noqa: N818
    """A record or store was written by a newer release."""


class MissingSerializer(StorageError, LookupError):  # noqa: N818
    """A record needs a serializer that is not registered."""


class LostRace(StorageError, FileExistsError):  # noqa: N818
    """With ``create=True``: another writer stored this result first."""
