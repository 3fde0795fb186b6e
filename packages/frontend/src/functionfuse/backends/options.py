"""Options: what queries set for the steps of one workflow, and how a run goes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias, get_args

from functionfuse.backends.rule_index import RuleIndex
from functionfuse.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from functionfuse.backends.plugins import Plugin
    from functionfuse.backends.secrets import Secret, SecretSource

OnError: TypeAlias = Literal["raise", "continue"]
"""What a run does when a step fails: stop, or run all that does not depend on it."""

Reuse: TypeAlias = Literal["recipe", "name", "never"]
"""Which stored results a run reuses: those with an equal recipe, whatever has the step's name, or none."""


OnInterrupt: TypeAlias = Literal["stop", "finish"]
"""What becomes of calls that run when a run is interrupted: they are stopped, or let finish and stored."""


COMMON_OPTIONS = frozenset(
    {
        "plugin",
        "retry",
        "timeout",
        "failed_inputs",
        "group",
        "cache",
        "max_age",
        "version",
        "ignore",
        "log",
        "check_arguments",
        "preview",
    }
)
"""The options that every backend honours whose calls are made by `perform`; see `StepOptions`."""

SECRET_SOURCES: frozenset[SecretSource] = frozenset({"env", "file"})
"""Where secrets are kept that any process can read."""

RESOURCES = ("cpus", "gpus", "memory", "disk", "accelerator", "custom")
"""The kinds of resources that a step may need."""


def checked_amount(name: str, amount: object) -> None:
    """Check an amount.

    Args:
        name: of what it is an amount.
        amount: a number.

    Raises:
        OptionError: it is none.
    """
    if isinstance(amount, bool) or not isinstance(amount, int | float) or not amount >= 0:
        raise OptionError(f"{name} must be a number, 0 or more, got {amount!r}")


def checked_size(name: str, size: object) -> int:
    """Return a number of bytes.

    Args:
        name: of what it is the size.
        size: the number.

    Raises:
        OptionError: it is none, or 0.
    """
    if isinstance(size, bool) or not isinstance(size, int) or size <= 0:
        raise OptionError(f"{name} must be a whole number of bytes, 1 or more, got {size!r}")
    return size


class Retry(NamedTuple):
    """How often to try again.

    Attributes:
        times: further attempts after the first.
        delay: seconds before the second attempt.
        backoff: factor by which the delay grows from one attempt to the next.
        exceptions: only these are tried again.
        pause: seconds before the first attempt, where the engine tries again itself.
    """

    times: int
    delay: float = 0.0
    backoff: float = 1.0
    exceptions: tuple[type[BaseException], ...] = (Exception,)
    pause: float = 0.0

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
        if not isinstance(times, int) or isinstance(times, bool) or times < 0:
            raise OptionError(f"times must be a whole number of further attempts, 0 or more, got {times!r}")
        checked_amount("delay", delay)
        checked_amount("backoff", backoff)
        kinds = exceptions if isinstance(exceptions, tuple) else (exceptions,)
        for kind in kinds:
            if not (isinstance(kind, type) and issubclass(kind, BaseException)):
                raise OptionError(f"exceptions must be exception classes, got {kind!r}")
        return cls(times, delay, backoff, kinds)


class Growing(NamedTuple):
    """An amount that grows with each retry.

    Attributes:
        start: of the first attempt.
        factor: by which each further attempt multiplies it.
    """

    start: float
    factor: float

    def at(self, attempt: int) -> float:
        """Return the amount of an attempt; the first one is 1."""
        amount = self.start * self.factor ** (attempt - 1)
        return int(amount) if isinstance(self.start, int) else amount


class AllowFailedInputs(NamedTuple):
    """That a step runs although inputs failed.

    Attributes:
        has_default: whether it takes `default` in the place of an input that failed, or a `FailedInput`.
        default: any value.
    """

    has_default: bool = False
    default: Any = None


class StepOptions(NamedTuple):
    """What queries set for one step.

    A backend declares in `supports` which of these fields it honours; one that is set and not supported blocks
    the step in the plan.

    Attributes:
        plugin: called before the step.
        retry: how often a failing call is tried again.
        timeout: seconds that one attempt may take.
        failed_inputs: that it runs although inputs failed.
        resources: what the call needs: "cpus", "gpus", "memory" and "disk" (bytes), "accelerator" (a type), and
            "custom", a mapping of names to amounts. A backend declares in `grants` which of them it honours.
        environment: environment variables that the call sees.
        image: the container image that the call runs in.
        packages: requirements that are installed where the call runs.
        tags: names under which a profile limits how many steps run at a time.
        group: the name of the collapsed step that it is a member of.
        cache: "never" runs the step every time; "trust" never, once its name has a result.
        max_age: seconds after which its stored result is made again.
        version: part of the recipe.
        ignore: names of parameters that are left out of the recipe.
        log: whether the step runs every time, and its result is not stored.
        check_arguments: whether a call that changes an argument in place fails.
        preview: False if the record of a run has no preview of the result.
        engine: options of the backend's own query class.
    """

    plugin: Plugin | None = None
    retry: Retry | None = None
    timeout: float | None = None
    failed_inputs: AllowFailedInputs | None = None
    resources: Mapping[str, Any] = {}
    environment: Mapping[str, str | Secret] = {}
    image: str | None = None
    packages: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    group: str | None = None
    cache: Literal["never", "trust"] | None = None
    max_age: float | None = None
    version: object = None
    ignore: tuple[str, ...] = ()
    log: bool = False
    check_arguments: bool = False
    preview: bool | None = None
    engine: Mapping[str, Any] = {}

    def __reduce__(self) -> str | tuple[Any, ...]:
        return "NO_OPTIONS" if self is NO_OPTIONS else (StepOptions, tuple(self))

    @property
    def needs(self) -> dict[str, Any]:
        """The resources by name, custom ones by their own names."""
        needs = dict(self.resources)
        custom = needs.pop("custom", {})
        return {**needs, **custom}

    @property
    def grows(self) -> bool:
        """Whether the step needs more with each attempt, so that the engine is given each."""
        return bool(self.resources) and any(isinstance(need, Growing) for need in self.needs.values())

    def at_attempt(self, attempt: int) -> StepOptions:
        """Return the options of one attempt of a step that needs more with each.

        Args:
            attempt: the number of the attempt, from 1 on.
        """
        resources = {name: _at(need, attempt) for name, need in self.resources.items()}
        retry = self.retry
        if retry is not None:
            pause = retry.delay * retry.backoff ** (attempt - 2) if attempt > 1 else 0.0
            retry = Retry(0, exceptions=retry.exceptions, pause=pause)
        return self._replace(resources=resources, retry=retry)

    def given(self) -> dict[str, Any]:
        """Return the options that are set, by name."""
        return {
            name: value
            for name, value in self._asdict().items()
            if value is not None and (name in ("version", "preview") or value not in (False, (), {}))
        }


def _at(need: Any, attempt: int) -> Any:
    if isinstance(need, dict):
        return {name: _at(one, attempt) for name, one in need.items()}
    return need.at(attempt) if isinstance(need, Growing) else need


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

    Args:
        rules: of queries.
        granted: rules of profiles, which those of queries override.

    Attributes:
        limits: by tag, how many steps with it run at a time.
    """

    def __init__(self, rules: Sequence[Rule] = (), granted: Sequence[Rule] = ()) -> None:
        self.limits: Mapping[str, int] = {}
        self._rules = list(rules)
        self._granted = list(granted)  # by profiles; what queries set wins
        self._merged: dict[tuple[int, ...], StepOptions] = {(): NO_OPTIONS}
        self._index: RuleIndex | None = None
        self._plugins: Mapping[str, Plugin] = {}
        self._groups: Mapping[str, str] = {}
        self._grouped: dict[tuple[tuple[int, ...], str], StepOptions] = {}

    def __bool__(self) -> bool:
        return bool(self._rules or self._granted or self._plugins or self._groups)

    def add(self, pattern: re.Pattern[str], options: Mapping[str, Any]) -> None:
        """Set options for all steps whose names match.

        Args:
            pattern: matches names as a whole.
            options: by the names of the fields of StepOptions.
        """
        self._add(self._rules, pattern, options)

    def grant(self, pattern: re.Pattern[str], options: Mapping[str, Any]) -> None:
        """Set options for all steps whose names match, under what `add` sets.

        Args:
            pattern: matches names as a whole.
            options: by the names of the fields of StepOptions.
        """
        self._add(self._granted, pattern, options)

    def _add(self, rules: list[Rule], pattern: re.Pattern[str], options: Mapping[str, Any]) -> None:
        unknown = options.keys() - OPTION_NAMES
        if unknown:
            raise TypeError(f"unknown options {sorted(unknown)}; options of an engine go into engine={{...}}")
        rules.append(Rule(pattern, options))
        self._index = None
        self._merged = {(): NO_OPTIONS}
        self._grouped.clear()

    def of(self, name: str) -> StepOptions:
        """Return the options of the step with this name."""
        if self._index is None:
            self._index = RuleIndex([rule.pattern for rule in (*self._granted, *self._rules)])
        matching = self._index.matching(name)
        options = self._merged.get(matching)
        if options is None:
            merged: dict[str, Any] = {}
            rules = (*self._granted, *self._rules)
            for number in matching:
                merge(merged, rules[number].options)
            options = self._merged[matching] = StepOptions(**merged)
        if name in self._groups:
            options = self._in_group(matching, options, self._groups[name])
        if self._plugins and name in self._plugins:
            return options._replace(plugin=self._plugins[name])
        return options

    def _in_group(self, matching: tuple[int, ...], options: StepOptions, group: str) -> StepOptions:
        """Return options with a group: one object for all members, as for all steps that share options."""
        key = matching, group
        grouped = self._grouped.get(key)
        if grouped is None:
            grouped = self._grouped[key] = options._replace(group=group)
        return grouped

    def copy(self) -> OptionRules:
        """Return rules that can be added to without changing these."""
        changed = OptionRules(self._rules, self._granted)
        changed.limits, changed._plugins, changed._groups = self.limits, self._plugins, self._groups
        return changed

    def with_all(self, options: Mapping[str, Any]) -> OptionRules:
        """Return these rules with options for all steps besides.

        Args:
            options: by the names of the fields of StepOptions.
        """
        changed = self.copy()
        changed._rules.append(Rule(re.compile(".*", re.DOTALL), options))
        return changed

    def with_groups(self, groups: Mapping[str, str]) -> OptionRules:
        """Return these rules with steps as members of collapsed steps.

        Args:
            groups: by the names of steps: those of the collapsed steps.
        """
        changed = self.copy()
        changed._groups = dict(groups)
        return changed

    def with_plugins(self, plugins: Mapping[str, Plugin]) -> OptionRules:
        """Return these rules with other plugins for the steps of some names, whatever the rules say."""
        changed = self.copy()
        changed._plugins = dict(plugins)
        return changed

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_merged": {(): NO_OPTIONS}, "_grouped": {}, "_index": None}


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


def checked_on_interrupt(on_interrupt: str) -> OnInterrupt:
    """Return the value of on_interrupt, or raise OptionError."""
    return _checked(on_interrupt, OnInterrupt, "on_interrupt")  # type: ignore[return-value]


def checked_reuse(reuse: str) -> Reuse:
    """Return the value of reuse, or raise OptionError."""
    return _checked(reuse, Reuse, "reuse")  # type: ignore[return-value]


def _checked(value: str, choices: object, name: str) -> str:
    known = get_args(choices)
    if value not in known:
        listed = ", ".join(f'"{choice}"' for choice in known)
        raise OptionError(f"unknown {name} {value!r}; known: {listed}")
    return value


def check_cache_mode(mode: object) -> None:
    """Raise OptionError for a mode of `set_cache` that there is not; None is that without one."""
    if mode not in (None, "never", "trust"):
        raise OptionError(f'unknown cache mode {mode!r}; known: "never", "trust"')


def checked_max_age(max_age: object) -> float:
    """Return the seconds after which a stored result is made again.

    Raises:
        OptionError: it is no positive number.
    """
    if isinstance(max_age, bool) or not isinstance(max_age, int | float) or not max_age > 0:
        raise OptionError(f"max_age is a number of seconds above 0, got {max_age!r}")
    return max_age
