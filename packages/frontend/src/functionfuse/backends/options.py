"""Options: what queries set for the steps of one workflow, and how a run goes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias, get_args

from functionfuse.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from functionfuse.backends.plugins import Plugin

OnError: TypeAlias = Literal["raise", "continue"]
"""What a run does when a step fails: stop, or run all that does not depend on it."""

Reuse: TypeAlias = Literal["recipe", "name", "never"]
"""Which stored results a run reuses: those with an equal recipe, whatever has the step's name, or none."""


COMMON_OPTIONS = frozenset(
    {"plugin", "retry", "timeout", "resources", "cache", "version", "ignore", "log", "check_arguments"}
)
"""The options that every backend honours whose calls are made by `perform`; see `StepOptions`."""


class Retry(NamedTuple):
    """How often to try again.

    Attributes:
        times: further attempts after the first.
        delay: seconds before the second attempt.
        backoff: factor by which the delay grows from one attempt to the next.
        exceptions: only these are tried again.
    """

    times: int
    delay: float = 0.0
    backoff: float = 1.0
    exceptions: tuple[type[BaseException], ...] = (Exception,)

    @classmethod
    def checked(
        cls,
        times: int,
        delay: float = 0.0,
        backoff: float = 1.0,
        exceptions: type[BaseException] | tuple[type[BaseException], ...] = Exception,
    ) -> Retry:
        """Return a retry policy.

        Args:
            times: further attempts after the first.
            delay: seconds before the second attempt.
            backoff: factor by which the delay grows with each attempt.
            exceptions: only these are tried again.

        Raises:
            OptionError: a value that is none of these.
        """
        if not isinstance(times, int) or times < 0:
            raise OptionError(f"times must be a whole number of further attempts, 0 or more, got {times!r}")
        if not delay >= 0 or not backoff >= 0:
            raise OptionError(f"delay and backoff must be 0 or more, got {delay!r} and {backoff!r}")
        kinds = exceptions if isinstance(exceptions, tuple) else (exceptions,)
        for kind in kinds:
            if not (isinstance(kind, type) and issubclass(kind, BaseException)):
                raise OptionError(f"exceptions must be exception classes, got {kind!r}")
        return cls(times, delay, backoff, kinds)


class StepOptions(NamedTuple):
    """What queries set for one step.

    A backend declares in `supports` which of these fields it honours; one that is set and not supported blocks
    the step in the plan.

    Attributes:
        plugin: called before the step.
        retry: how often a failing call is tried again.
        timeout: seconds that one attempt may take.
        resources: "cpus", "gpus" and "memory" (bytes) that the call needs.
        cache: "never" runs the step every time.
        version: part of the recipe.
        ignore: names of parameters that are left out of the recipe.
        log: whether the step runs every time, and its result is not stored.
        check_arguments: whether a call that changes an argument in place fails.
        engine: options of the backend's own query class.
    """

    plugin: Plugin | None = None
    retry: Retry | None = None
    timeout: float | None = None
    resources: Mapping[str, Any] = {}
    cache: Literal["never"] | None = None
    version: object = None
    ignore: tuple[str, ...] = ()
    log: bool = False
    check_arguments: bool = False
    engine: Mapping[str, Any] = {}

    def __reduce__(self) -> str | tuple[Any, ...]:
        return "NO_OPTIONS" if self is NO_OPTIONS else (StepOptions, tuple(self))

    def given(self) -> dict[str, Any]:
        """Return the options that are set, by name."""
        return {
            name: value
            for name, value in self._asdict().items()
            if value is not None and (name == "version" or value not in (False, (), {}))
        }


OPTION_NAMES = frozenset(StepOptions._fields)
NO_OPTIONS = StepOptions()
"""The options of a step for which nothing is set: one object, so that `is` recognizes it."""


class Rule(NamedTuple):
    """Options for the steps whose names match a pattern as a whole."""

    pattern: re.Pattern[str]
    options: Mapping[str, Any]


class OptionRules:
    """The options of one workflow's steps, as rules over names; later rules merge over earlier ones.

    Rules hold for the steps of dynamic graphs too, which get their names (`parent/child`) only in the run.
    """

    def __init__(self) -> None:
        self._rules: list[Rule] = []
        self._merged: dict[tuple[int, ...], StepOptions] = {(): NO_OPTIONS}
        self._plugins: Mapping[str, Plugin] = {}

    def __bool__(self) -> bool:
        return bool(self._rules or self._plugins)

    def add(self, pattern: re.Pattern[str], options: Mapping[str, Any]) -> None:
        """Set options for all steps whose names match.

        Args:
            pattern: matches names as a whole.
            options: by the names of the fields of StepOptions.
        """
        unknown = options.keys() - OPTION_NAMES
        if unknown:
            raise TypeError(f"unknown options {sorted(unknown)}; options of an engine go into engine={{...}}")
        self._rules.append(Rule(pattern, options))

    def of(self, name: str) -> StepOptions:
        """Return the options of the step with this name."""
        matching = tuple([number for number, (pattern, _) in enumerate(self._rules) if pattern.fullmatch(name)])
        options = self._merged.get(matching)
        if options is None:
            merged: dict[str, Any] = {}
            for number in matching:
                merge(merged, self._rules[number].options)
            options = self._merged[matching] = StepOptions(**merged)
        if name in self._plugins:
            return options._replace(plugin=self._plugins[name])
        return options

    def copy(self) -> OptionRules:
        """Return rules that can be added to without changing these."""
        changed = OptionRules()
        changed._rules = list(self._rules)
        changed._plugins = self._plugins
        return changed

    def with_all(self, options: Mapping[str, Any]) -> OptionRules:
        """Return these rules with options for all steps besides.

        Args:
            options: by the names of the fields of StepOptions.
        """
        changed = self.copy()
        changed._rules.append(Rule(re.compile(".*", re.DOTALL), options))
        return changed

    def with_plugins(self, plugins: Mapping[str, Plugin]) -> OptionRules:
        """Return these rules with other plugins for the steps of some names, whatever the rules say."""
        changed = self.copy()
        changed._plugins = dict(plugins)
        return changed

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_merged": {(): NO_OPTIONS}}


def merge(options: dict[str, Any], newer: Mapping[str, Any], depth: int = 2) -> None:
    """Merge newer options into older ones: mappings key by key, at most two levels deep.

    Args:
        options: the older ones; they are changed.
        newer: what they are overridden with.
        depth: of mappings that are merged, rather than replaced.
    """
    for key, value in newer.items():
        old = options.get(key)
        if depth and isinstance(old, dict) and isinstance(value, dict):
            options[key] = old = dict(old)
            merge(old, value, depth - 1)
        else:
            options[key] = value


def checked_on_error(on_error: str) -> OnError:
    """Return the value of on_error, or raise OptionError."""
    return _checked(on_error, OnError, "on_error")  # type: ignore[return-value]


def checked_reuse(reuse: str) -> Reuse:
    """Return the value of reuse, or raise OptionError."""
    return _checked(reuse, Reuse, "reuse")  # type: ignore[return-value]


def _checked(value: str, choices: object, name: str) -> str:
    known = get_args(choices)
    if value not in known:
        listed = ", ".join(f'"{choice}"' for choice in known)
        raise OptionError(f"unknown {name} {value!r}; known: {listed}")
    return value
