"""The description of a run, as data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple, TypedDict

from functionfuse._suggestions import did_you_mean
from functionfuse.backends.options import (
    COMMON_OPTIONS,
    SECRET_SOURCES,
    OptionRules,
    checked_on_error,
    checked_on_interrupt,
    checked_reuse,
)
from functionfuse.backends.recording import MOST_CAPSULE
from functionfuse.errors import OptionError, UsageError

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Collection, Iterable, Sequence
    from typing import Any, Literal

    from functionfuse.backends.options import OnError, OnInterrupt, Reuse
    from functionfuse.backends.secrets import SecretSource
    from functionfuse.plan import Ref, Step
    from functionfuse.stores import Store

    Given = Sequence[Sequence[Any] | None]


class RunOptions(TypedDict, total=False):
    """How a run goes: keyword arguments of `run` on every backend.

    Attributes:
        on_error: "raise", the default, stops at the first failure: what runs is let end, and is stored (on Ray it is
            stopped); "continue" runs all that does not depend on a failure, and raises WorkflowFailed then.
        reuse: "recipe", the default, reuses a stored result where everything that makes it is unchanged; "name"
            whatever is stored under a node's name; "never" nothing.
        check_arguments: whether a node fails that changes an argument in place; arguments are fingerprinted before and
            after each node for that.
        retry_failed: whether the results that the last run of this workflow object stored or reused are reused, if it
            failed, whatever their recipes: what failed runs again, and what depends on it. It needs a store.
        on_interrupt: what becomes of nodes that run at Ctrl-C, and when another thread calls `cancel`: "stop", the
            default, stops them; "finish" lets them finish, and stores their results. A second Ctrl-C stops them.
        verify: the share, from 0 to 1, of the functions with stored results that are called again, to compare what they
            return with what is stored. Where it differs, a warning says so, and the stored result stands.
        capsules: the folder in which each node that fails leaves a file, for `functionfuse.backends.capsule`. By
            default they are kept in the store, if there is one; False for none.
        capsule_bytes: the most that the call in a capsule may take, with all of its arguments; 256 MiB by default. What
            does not fit is left out.
        labels: texts by names, `{"experiment": "7"}`, that the record of the run has, if there is a store.
        inline: whether every call is made in this thread, one after the other, whatever the engine, for debuggers and
            profilers. Nothing is stored, reused, recorded, tried again or stopped at a time limit, and what a function
            raises is raised as it is. Its progress is not shown.
        progress: whether the progress of the run is shown, by functionfuse-console; by default on terminals and in
            notebooks, if that is installed. The environment variable FUNCTIONFUSE_PROGRESS, "0" or "1", sets another
            default.
    """

    on_error: OnError
    reuse: Reuse
    check_arguments: bool
    retry_failed: bool
    verify: float
    on_interrupt: OnInterrupt
    capsules: str | os.PathLike[str] | Literal[False] | None
    capsule_bytes: int
    labels: Mapping[str, str]
    inline: bool
    progress: bool | None


def check_run_options(names: Iterable[str], run: Callable[..., Any] | None = None) -> None:
    """Raise UsageError for the name of an option that `RunOptions` does not have.

    Args:
        names: of options.
        run: the method of a backend whose own parameters may be meant.
    """
    known = RunOptions.__annotations__
    unknown = next((name for name in names if name not in known), None)
    if unknown is not None:
        code = getattr(run, "__code__", None)
        own = () if code is None else code.co_varnames[1 : code.co_argcount + code.co_kwonlyargcount]
        raise UsageError(f"run() got an unexpected keyword argument {unknown!r}{did_you_mean(unknown, [*known, *own])}")


def checked_labels(labels: object) -> dict[str, str]:
    """Return the labels of a run, or raise OptionError for what is no text."""
    if labels is None:
        return {}
    if not isinstance(labels, Mapping):
        raise OptionError(f'labels are texts by names, {{"experiment": "7"}}, got {labels!r}')
    for name, text in labels.items():
        if not isinstance(name, str) or not name:
            raise OptionError(f"the name of a label is a text that is not empty, got {name!r}")
        if not isinstance(text, str):
            raise OptionError(f"label {name!r} must be a text, got {text!r}; str(...) makes one")
    return dict(labels)


def arranged(results: Iterable[Any], given: Given) -> Any:
    """Return results as a workflow was given their nodes: a dict by labels for a sweep, a list if several were given.

    Args:
        results: of all nodes, in their order.
        given: the labels of each sweep, and None for each node.
    """
    rest = iter(results)
    values = [next(rest) if labels is None else dict(zip(labels, rest)) for labels in given]  # noqa: B905
    return values[0] if len(values) == 1 else values


class RunSpec(NamedTuple):
    """All that a run is, as data. It can be pickled, if the store and what users wrote can.

    Attributes:
        workflow_name: under which the store keeps the results.
        steps: the graph, not yet planned.
        wanted: the results that are asked for.
        given: what the workflow was given, for `returned`: the labels of each sweep, and None for each node. A run
            without it returns the list of results that are wanted.
        options: what queries set.
        store: the store; None without one.
        on_error: whether a failure stops the run.
        reuse: which stored results are reused.
        backend: the name of the backend, for messages.
        supports: the options that the backend honours.
        grants: the resources that the backend honours, each with the most that one step may have.
        secret_sources: from where the backend takes secrets.
        grows: whether an attempt of a step may need more than the one before.
        shares_files: whether the workers of the backend have the files of the machine that plans.
        collapses_objects: whether calls of stateful objects may be members of collapsed steps.
        early_cutoff: whether the engine can wait for inputs of a step, to reuse its result if they are as before.
        verify: the share of reused steps that are made again, to be compared.
        verify_seed: of their choice.
        has_options: whether the steps carry what `options` set for them.
        has_recipes: whether the steps carry their recipes already, as another process wrote them.
        saved: names of steps whose stored results are reused, whatever their recipes.
        on_interrupt: what becomes of calls that run when the run is interrupted.
        capsules: the folder of failure capsules; "" if they are in the store, None if there are none.
        capsule_bytes: the most that one may have.
        pickler: the module that pickles them, cloudpickle or a copy of it.
        labels: of the record of the run.
        progress: whether its progress is shown; None where that depends on the process.
    """

    workflow_name: str
    steps: Sequence[Step]
    wanted: Sequence[Ref]
    given: Given | None = None
    options: OptionRules = OptionRules()
    store: Store | None = None
    on_error: OnError = "raise"
    reuse: Reuse = "recipe"
    backend: str = "this backend"
    supports: Collection[str] = COMMON_OPTIONS
    grants: Mapping[str, float] = {}
    secret_sources: Collection[SecretSource] = SECRET_SOURCES
    grows: bool = False
    shares_files: bool = True
    collapses_objects: bool = True
    early_cutoff: bool = True
    verify: float = 0.0
    verify_seed: int = 0
    has_options: bool = False
    has_recipes: bool = False
    saved: Collection[str] = ()
    on_interrupt: OnInterrupt = "stop"
    capsules: str | None = None
    capsule_bytes: int = MOST_CAPSULE
    pickler: str = "cloudpickle"
    labels: Mapping[str, str] = {}
    progress: bool | None = None

    def returned(self, results: Sequence[Any]) -> Any:
        """Return what a run returns of the results that are wanted."""
        return list(results) if self.given is None else arranged(results, self.given)

    def with_argument_check(self) -> RunSpec:
        """Return this description, of a run in which a node fails that changes an argument in place."""
        return self._replace(options=self.options.with_all({"check_arguments": True}), has_options=False)

    def checked(self) -> RunSpec:
        """Return this description, or raise OptionError for a value of one of its choices that there is not."""
        checked_on_error(self.on_error)
        checked_on_interrupt(self.on_interrupt)
        checked_reuse(self.reuse)
        return self
