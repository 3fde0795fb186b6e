"""The description of a run, as data."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from functionfuse.backends.options import COMMON_OPTIONS, SECRET_SOURCES, OptionRules, checked_on_error, checked_reuse

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from functionfuse.backends.options import OnError, Reuse
    from functionfuse.backends.secrets import SecretSource
    from functionfuse.plan import Ref, Step
    from functionfuse.stores import Store


class RunSpec(NamedTuple):
    """All that a run is, as data. It can be pickled, if the store and what users wrote can.

    Attributes:
        workflow_name: under which the store keeps the results.
        steps: the graph, not yet planned.
        wanted: the results that are asked for.
        returns_list: whether the run returns a list of results, rather than the one that is wanted.
        options: what queries set.
        store: the store; None without one.
        on_error: whether a failure stops the run.
        reuse: which stored results are reused.
        backend: the name of the backend, for messages.
        supports: the options that the backend honours.
        grants: the resources that the backend honours, each with the most that one step may have.
        secret_sources: from where the backend takes secrets.
        has_options: whether the steps carry what `options` set for them.
        has_recipes: whether the steps carry their recipes already, as another process wrote them.
    """

    workflow_name: str
    steps: Sequence[Step]
    wanted: Sequence[Ref]
    returns_list: bool = True
    options: OptionRules = OptionRules()
    store: Store | None = None
    on_error: OnError = "raise"
    reuse: Reuse = "recipe"
    backend: str = "this backend"
    supports: Collection[str] = COMMON_OPTIONS
    grants: Mapping[str, float] = {}
    secret_sources: Collection[SecretSource] = SECRET_SOURCES
    has_options: bool = False
    has_recipes: bool = False

    def with_argument_check(self) -> RunSpec:
        """Return this description, of a run in which a node fails that changes an argument in place."""
        return self._replace(options=self.options.with_all({"check_arguments": True}), has_options=False)

    def checked(self) -> RunSpec:
        """Return this description, or raise OptionError for a value of on_error or reuse that there is not."""
        checked_on_error(self.on_error)
        checked_reuse(self.reuse)
        return self
