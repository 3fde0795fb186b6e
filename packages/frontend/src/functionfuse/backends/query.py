"""Queries: nodes chosen by the names, and the options set on them."""

from __future__ import annotations

import difflib
import re
from collections.abc import MutableMapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NoReturn, Self

from functionfuse._warning import warn_user
from functionfuse.backends.options import (
    AllowFailedInputs,
    Retry,
    check_cache_mode,
    checked_amount,
    checked_max_age,
)
from functionfuse.backends.plugins import PluginCollection, check_plugin
from functionfuse.backends.secrets import checked_environment
from functionfuse.errors import NodeAttributeError, OptionError, PatternError
from functionfuse.sizes import bytes_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from functionfuse.backends.options import OptionRules
    from functionfuse.backends.plugins import Plugin
    from functionfuse.backends.secrets import Secret


_NO_DEFAULT: Any = object()


class NodeView:
    """A node as an engineer sees it: its name, and the options that queries set.

    Args:
        name: of the node in the workflow.
        options: of the workflow.
        query_class: of the workflow.
    """

    __slots__ = ("_name", "_options", "_query_class")

    def __init__(self, name: str, options: OptionRules, query_class: type[Query]) -> None:
        self._name = name
        self._options = options
        self._query_class = query_class

    def get_name(self) -> str:
        """Return the node's name in this workflow."""
        return self._name

    @property
    def backend_info(self) -> BackendInfo:
        """The options set for this node, as they are now; those of the engine by their own names."""
        return BackendInfo(self._name, self._options, self._query_class)

    def __setattr__(self, name: str, value: object) -> None:
        if name not in NodeView.__slots__:
            raise NodeAttributeError(
                f"{self!r} is a view of a node, whose {name!r} cannot be set: workflow.replace_func(node, function) "
                "lets the node call another function, and the methods of query(...) set its options"
            )
        super().__setattr__(name, value)

    def __repr__(self) -> str:
        return f"<node {self._name!r}>"


class BackendInfo(MutableMapping[str, Any]):
    """The options set for one node. ``info["plugin"] = plugin`` is ``query(name).set_plugin(plugin)``.

    Args:
        name: of the node in the workflow.
        options: of the workflow.
        query_class: of the workflow.
    """

    def __init__(self, name: str, options: OptionRules, query_class: type[Query]) -> None:
        self._name = name
        self._options = options
        self._query_class = query_class

    def __getitem__(self, key: str) -> Any:
        return self._given()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._given())

    def __len__(self) -> int:
        return len(self._given())

    def __setitem__(self, key: str, value: Any) -> None:
        query = self._query_class(re.escape(self._name), [self._name], self._options)
        method = getattr(query, f"set_{key}", None)
        if method is None:
            raise self._refusal(f"the option {key!r} cannot be set here")
        method(value)

    def __delitem__(self, key: str) -> NoReturn:
        raise self._refusal(f"the option {key!r} cannot be taken away")

    def __repr__(self) -> str:
        return repr(self._given())

    def _given(self) -> dict[str, Any]:
        given = self._options.of(self._name).given()
        engine = given.pop("engine", {})
        return {key: _read_only(value) for key, value in {**engine, **given}.items()}

    def _refusal(self, problem: str) -> OptionError:
        known = ", ".join(name for name in dir(self._query_class) if name.startswith("set_"))
        return OptionError(f"{problem}, for node {self._name!r}; query(...) has {known}, and workflows have log_nodes")


class Query:
    """Nodes whose names match a pattern. Every ``set_...`` returns the query and merges over earlier calls.

    A backend adds the options of its engine in a subclass.
    """

    engine_section: ClassVar[tuple[str, str]] = ("", "")
    """The section of profiles for the engine, ``engine.<name>``, and the method that takes it."""

    def __init__(self, pattern: str | None, names: Iterable[str], options: OptionRules) -> None:
        self._pattern = compiled(pattern)
        self._options = options
        self.nodes = [NodeView(name, options, type(self)) for name in matching(self._pattern, names)]

    def __iter__(self) -> Iterator[NodeView]:
        return iter(self.nodes)

    def __len__(self) -> int:
        return len(self.nodes)

    def __repr__(self) -> str:
        return f"<query {self._pattern.pattern!r}: {len(self.nodes)} nodes>"

    def set_plugin(self, plugin: Plugin) -> Self:
        """Apply a plugin in the process of each node, before the node runs.

        Raises:
            OptionError: the object has not the methods of a plugin.
        """
        check_plugin(plugin)
        return self._set(plugin=plugin)

    def set_plugins(self, plugins: Plugin | Sequence[Plugin]) -> Self:
        """Apply a plugin, or several in the order given."""
        if isinstance(plugins, list | tuple):
            for plugin in plugins:
                check_plugin(plugin)
            plugins = PluginCollection(plugins)
        return self.set_plugin(plugins)  # type: ignore[arg-type]

    def set_retry(
        self,
        times: int,
        delay: float = 0.0,
        backoff: float = 1.0,
        exceptions: type[BaseException] | tuple[type[BaseException], ...] = Exception,
    ) -> Self:
        """Try a failing node again.

        Args:
            times: further attempts after the first.
            delay: seconds before the second attempt.
            backoff: factor by which the delay grows with each attempt.
            exceptions: only these are tried again.
        """
        return self._set(retry=Retry.checked(times, delay, backoff, exceptions))

    def set_timeout(self, seconds: float) -> Self:
        """Let one attempt of a node take no longer than this.

        In a thread other than the main one, the function is left to itself: Python cannot stop a thread.
        """
        if not isinstance(seconds, int | float) or not seconds > 0:
            raise OptionError(f"a time limit is a number of seconds above 0, got {seconds!r}")
        return self._set(timeout=float(seconds))

    def allow_failed_inputs(self, default: Any = _NO_DEFAULT) -> Self:
        """Let each node run although nodes whose results it takes failed, or were skipped.

        It takes a `FailedInput` in the place of each such result. A failure that only such nodes depend on does not
        stop a run, and does not make it raise. What a node makes of failed inputs, and all that is made from it, is
        not reused by later runs. A call of a method never runs without its object.

        Args:
            default: what each node takes instead of a `FailedInput`.
        """
        has_default = default is not _NO_DEFAULT
        return self._set(failed_inputs=AllowFailedInputs(has_default, default if has_default else None))

    def set_resources(
        self,
        *,
        cpus: float | None = None,
        gpus: float | None = None,
        memory: int | str | None = None,
        disk: int | str | None = None,
        accelerator: str | None = None,
        custom: Mapping[str, float] | None = None,
    ) -> Self:
        """Say what each node needs. A node that needs what the engine cannot grant is blocked in the plan.

        Args:
            cpus: processors, also parts of one.
            gpus: GPUs, also parts of one.
            memory: bytes, or text like ``"4 GiB"`` or ``"500 MB"``.
            disk: bytes, or text.
            accelerator: the type of an accelerator, as the engine calls it.
            custom: amounts of resources that an engineer has named.

        Raises:
            OptionError: an amount that is none.
        """
        amounts: dict[str, Any] = {"cpus": cpus, "gpus": gpus}
        amounts |= {key: bytes_of(size) for key, size in (("memory", memory), ("disk", disk)) if size is not None}
        for name, amount in {**amounts, **(custom or {})}.items():
            if amount is not None:
                checked_amount(name, amount)
        if accelerator is not None and (not isinstance(accelerator, str) or not accelerator):
            raise OptionError(f"accelerator must be the name of a type, got {accelerator!r}")
        resources = {**amounts, "accelerator": accelerator, "custom": dict(custom) if custom else None}
        return self._set(resources={name: amount for name, amount in resources.items() if amount is not None})

    def set_environment(self, variables: Mapping[str, str | Secret]) -> Self:
        """Let each node see environment variables.

        Args:
            variables: values, or references to secrets, by name.

        Raises:
            OptionError: a name or a value is no text.
        """
        return self._set(environment=checked_environment(variables))

    def set_tags(self, *tags: str) -> Self:
        """Give each node tags, under which a profile limits how many nodes run at a time; instead of earlier ones.

        Args:
            tags: the tags.

        Raises:
            OptionError: a tag is no text.
        """
        if not all(isinstance(tag, str) and tag for tag in tags):
            raise OptionError(f"tags are texts, got {tags!r}")
        return self._set(tags=tags)

    def set_preview(self, shown: bool) -> Self:
        """Say whether the records of runs have previews of the nodes' results, as they do unless this says no.

        Args:
            shown: False for none.

        Raises:
            OptionError: it is neither True nor False.
        """
        if not isinstance(shown, bool):
            raise OptionError(f"set_preview takes True or False, got {shown!r}")
        return self._set(preview=shown)

    def set_cache(
        self,
        mode: Literal["never", "trust"] | None = None,
        *,
        version: object = None,
        ignore: Sequence[str] = (),
        max_age: float | None = None,
    ) -> Self:
        """Steer by hand when stored results are reused.

        Args:
            mode: "never" runs the nodes every time, and all that needs them too; with ``reuse="name"``, which
                trusts names alone, only the nodes themselves. "trust" reuses what is stored under the name of a node,
                whatever has changed; what follows is reused as if nothing had.
            version: part of the recipe; a new version makes the results again.
            ignore: names of parameters whose values are left out of the recipe.
            max_age: seconds after which a stored result is made again, and all that needs it.

        Raises:
            OptionError: an argument cannot be used.
        """
        check_cache_mode(mode)
        if max_age is not None:
            checked_max_age(max_age)
            if mode is not None:
                raise OptionError(f"max_age is for results that recipes find: set_cache({mode!r}) does not ask for it")
        if isinstance(ignore, str) or not all(isinstance(name, str) for name in ignore):
            raise OptionError(f"ignore takes a list of parameter names, got {ignore!r}")
        options: dict[str, Any] = {"cache": mode} if mode is not None else {}
        if max_age is not None:
            options["max_age"] = float(max_age)
        if version is not None:
            options["version"] = version
        if ignore:
            options["ignore"] = tuple(ignore)
        return self._set(**options)

    def _set(self, **options: Any) -> Self:
        self._options.add(self._pattern, options)
        return self


def _read_only(value: Any) -> Any:
    """Return a view of a mapping, at any depth, which cannot be changed; any other value as it is."""
    return MappingProxyType({key: _read_only(item) for key, item in value.items()}) if type(value) is dict else value


def compiled(pattern: str | None) -> re.Pattern[str]:
    """Compile a pattern for names; None matches every name."""
    try:
        return re.compile(".*" if pattern is None else pattern, re.DOTALL if pattern is None else 0)
    except (re.error, TypeError) as error:
        raise PatternError(
            f"{pattern!r} is not a regular expression: {error}; re.escape(name) matches a name as it is"
        ) from None


def matching(pattern: re.Pattern[str], names: Iterable[str]) -> list[str]:
    """Return the names that a pattern matches as a whole; warn, with close names, when there is none.

    Args:
        pattern: a compiled regular expression.
        names: the names.
    """
    names = list(names)
    found = [name for name in names if pattern.fullmatch(name)]
    if not found:
        if pattern.pattern in names:
            hint = ", though it is the name of one: re.escape(name) matches a name as it is"
        else:
            close = difflib.get_close_matches(pattern.pattern, names, n=3, cutoff=0.4)
            hint = f"; close names: {', '.join(map(repr, close))}" if close else ""
        warn_user(f"no node's name matches {pattern.pattern!r} as a whole{hint}")
    return found
