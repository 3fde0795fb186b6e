"""Profiles: what the nodes of a workflow need, and what an engineer grants them, as data.

A scientist's file of needs maps patterns for names of nodes to classes of resources, or to plain needs. An engineer's
profile says what the classes are, and sets options of nodes; parts of it hold in one environment only. Both are TOML or
JSON. Profiles go through the same options as queries, so that an engine refuses in the plan what it cannot honour.
"""

from __future__ import annotations

import importlib
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from functionfuse._suggestions import did_you_mean
from functionfuse.backends.documents import Document
from functionfuse.backends.options import (
    RESOURCES,
    Growing,
    OptionRules,
    Retry,
    check_cache_mode,
    checked_max_age,
)
from functionfuse.backends.plugins import check_plugin
from functionfuse.backends.secrets import checked_environment, reference_in
from functionfuse.errors import FunctionFuseError, OptionError, ProfileError
from functionfuse.sizes import bytes_of

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from functionfuse.backends.documents import Keys
    from functionfuse.backends.query import Query

VERSION = 1
_AMOUNTS = ("cpus", "gpus")
_SIZES = ("memory", "disk")
_ENGINES = ("local", "ray", "kfp", "prefect")
_CACHE = {"mode": "cache", "version": "version", "ignore": "ignore", "max_age": "max_age"}


class ProfileRule(NamedTuple):
    """Options for the nodes whose names match a pattern.

    Attributes:
        pattern: matches names as a whole.
        options: by the names of the fields of `StepOptions`.
        source: the file and line of the rule.
    """

    pattern: re.Pattern[str]
    options: Mapping[str, Any]
    source: str


class Profile(NamedTuple):
    """What files say of the nodes of a workflow.

    Attributes:
        rules: later ones win.
        limits: by tag, how many nodes with it run at a time.
    """

    rules: tuple[ProfileRule, ...]
    limits: Mapping[str, int]


SCHEMA = Path(__file__).with_suffix(".schema.json")
"""The JSON Schema of profiles, and of files of needs, for editors."""


def load(
    path: str | os.PathLike[str], *, env: str | None = None, needs: str | os.PathLike[str] | None = None
) -> Profile:
    """Read a profile.

    Args:
        path: of the engineer's file.
        env: the environment whose part of the profile holds besides; only what holds everywhere by default.
        needs: the scientist's file, whose rules come before those of the profile.

    Raises:
        ProfileError: a file is malformed, has an unknown key, a class without a definition, an amount that is none,
            or no such environment; the message has the file, the line and the key.
    """
    profile = Document(path)
    parts = _parts(profile, env)
    classes = _Classes()
    for keys, part in parts:
        classes.add(profile, (*keys, "classes"), _table(profile, (*keys, "classes"), part.get("classes", {})))
    rules: list[ProfileRule] = []
    if needs is not None:
        asked = Document(needs)
        _check_keys(asked, (), asked.data, ("nodes", "version", "$schema"))
        _check_version(asked)
        rules += _rules(asked, ("nodes",), asked.data.get("nodes", {}), classes, RESOURCES)
    limits: dict[str, int] = {}
    for keys, part in parts:
        rules += _rules(profile, (*keys, "nodes"), part.get("nodes", {}), classes, (*RESOURCES, *_READERS))
        limits |= _limits(profile, (*keys, "limits"), part.get("limits", {}))
    classes.check()
    return Profile(tuple(rules), limits)


def granted_options(rule: ProfileRule, names: Sequence[str], query_class: type[Query]) -> dict[str, Any]:
    """Return the options of a rule for one backend: of the sections for engines only its own.

    Args:
        rule: of a profile.
        names: of the nodes of a workflow.
        query_class: of the workflow.

    Raises:
        ProfileError: no name matches, or the engine refuses its section.
    """
    if not any(map(rule.pattern.fullmatch, names)) and not _may_match_later(rule.pattern.pattern, names):
        known = did_you_mean(rule.pattern.pattern, names)
        raise ProfileError(f"{rule.source}: no node's name matches {rule.pattern.pattern!r} as a whole{known}")
    options = dict(rule.options)
    sections = options.pop("engine", {})
    own, method = query_class.engine_section
    for section in sections:
        if section not in _ENGINES and section != own:
            raise ProfileError(f"{rule.source}: no engine is named {section!r}{did_you_mean(section, _ENGINES)}")
    if own in sections:
        rules = OptionRules()
        try:
            getattr(query_class(None, ["node"], rules), method)(sections[own])
        except FunctionFuseError as error:
            raise ProfileError(f"{rule.source}: engine.{own}: {error}") from None
        options["engine"] = rules.of("node").engine
    return options


def _may_match_later(pattern: str, names: Sequence[str]) -> bool:
    """Return whether a pattern is for nodes that a node makes in the run, which are named ``parent/child``."""
    parent, slash, _ = pattern.partition("/")
    try:
        return bool(slash) and any(re.fullmatch(parent, name) for name in names)
    except re.error:  # a part of a pattern need not be one
        return True


def _parts(profile: Document, env: str | None) -> list[tuple[Keys, Mapping[str, Any]]]:
    """Return the parts of a profile that hold, from the general to that of the environment."""
    keys = ("classes", "nodes", "limits")
    _check_keys(profile, (), profile.data, (*keys, "env", "version", "$schema"))
    _check_version(profile)
    environments = _table(profile, ("env",), profile.data.get("env", {}))
    for name, part in environments.items():
        _check_keys(profile, ("env", name), part, keys)
    if env is None:
        return [((), profile.data)]
    if env not in environments:
        known = ", ".join(map(repr, environments)) or "none"
        raise profile.error(("env",), f"has no environment {env!r}{did_you_mean(env, environments)} (known: {known})")
    return [((), profile.data), (("env", env), environments[env])]


class _Classes:
    """The classes of resources of a profile; that of an environment is laid over the general one."""

    def __init__(self) -> None:
        self._given: dict[str, dict[str, Any]] = {}
        self._places: dict[str, tuple[Document, Keys]] = {}

    def add(self, document: Document, keys: Keys, classes: Mapping[str, Any]) -> None:
        for name, given in classes.items():
            _check_keys(document, (*keys, name), given, (*RESOURCES, "class"))
            self._given[name] = {**self._given.get(name, {}), **given}
            self._places[name] = document, (*keys, name)

    def needs(self, document: Document, keys: Keys, name: Any, within: tuple[str, ...] = ()) -> dict[str, Any]:
        """Return the needs of a class, with those of the classes that it is made from.

        Args:
            document: that names the class.
            keys: under which it does.
            name: of the class.
            within: the classes that are being read.
        """
        if not isinstance(name, str):
            raise document.error(keys, f"the name of a class is a text, got {name!r}")
        if name not in self._given:
            raise document.error(keys, f"no class is named {name!r}{did_you_mean(name, self._given)}")
        if name in within:
            raise document.error(keys, f"classes refer to each other in a circle: {' -> '.join((*within, name))}")
        place, at = self._places[name]
        given = self._given[name]
        base = self.needs(place, (*at, "class"), given["class"], (*within, name)) if "class" in given else {}
        return {**base, **_resources(place, at, given)}

    def check(self) -> None:
        """Check the classes that nobody asks for, too."""
        for name, (place, at) in self._places.items():
            self.needs(place, at, name)


def _rules(
    document: Document, keys: Keys, nodes: Any, classes: _Classes, allowed: tuple[str, ...]
) -> Iterator[ProfileRule]:
    for pattern, given in _table(document, keys, nodes).items():
        at = (*keys, pattern)
        try:
            compiled = re.compile(pattern)
        except re.error as error:
            raise document.error(at, f"is no regular expression: {error}") from None
        table = {"class": given} if isinstance(given, str) else given
        _check_keys(document, at, table, (*allowed, "class"))
        resources = classes.needs(document, (*at, "class"), table["class"]) if "class" in table else {}
        resources |= _resources(document, at, table)
        options: dict[str, Any] = {"resources": resources} if resources else {}
        for key in table:
            if key in _READERS:
                options |= _read(document, (*at, key), table[key], _READERS[key])
        yield ProfileRule(compiled, options, f"{document.path}:{document.line_of(at)}")


def _resources(document: Document, keys: Keys, table: Mapping[str, Any]) -> dict[str, Any]:
    """Return the needs among the keys of a class or rule."""
    needs: dict[str, Any] = {}
    for key in (*_AMOUNTS, *_SIZES):
        if key in table:
            read = _amount if key in _AMOUNTS else _size
            needs[key] = _growing(document, (*keys, key), table[key], read)
    if "accelerator" in table:
        needs["accelerator"] = _text(document, (*keys, "accelerator"), table["accelerator"])
    if "custom" in table:
        custom = _table(document, (*keys, "custom"), table["custom"])
        needs["custom"] = {
            name: _growing(document, (*keys, "custom", name), value, _amount) for name, value in custom.items()
        }
    return needs


def _growing(document: Document, keys: Keys, value: Any, read: Callable[[Document, Keys, Any], float]) -> Any:
    """Return an amount, or one that grows with each retry: ``{start = "4 GiB", retry = 2.0}``."""
    if not isinstance(value, dict):
        return read(document, keys, value)
    _check_keys(document, keys, value, ("start", "retry"))
    if "start" not in value:
        raise document.error(keys, 'an amount that grows has a start: {start = "4 GiB", retry = 2.0}')
    factor = _amount(document, (*keys, "retry"), value.get("retry", 1.0))
    if factor < 1:
        raise document.error((*keys, "retry"), f"the factor of a retry is 1 or more, got {factor!r}")
    return Growing(read(document, (*keys, "start"), value["start"]), factor)


def _amount(document: Document, keys: Keys, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise document.error(keys, f"an amount is a number, 0 or more, got {value!r}")
    return value


def _size(document: Document, keys: Keys, value: Any) -> int:
    try:
        return bytes_of(value)
    except FunctionFuseError as error:
        raise document.error(keys, str(error)) from None


def _text(document: Document, keys: Keys, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise document.error(keys, f"a text is expected, got {value!r}")
    return value


def _bool(document: Document, keys: Keys, value: Any) -> bool:
    if not isinstance(value, bool):
        raise document.error(keys, f"true or false is expected, got {value!r}")
    return value


def _texts(document: Document, keys: Keys, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise document.error(keys, f"a list of texts is expected, got {value!r}")
    return tuple(_text(document, keys, item) for item in value)


def _table(document: Document, keys: Keys, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise document.error(keys, f"a table is expected, got {value!r}")
    return value


def _check_keys(document: Document, keys: Keys, value: Any, known: tuple[str, ...]) -> None:
    for key in _table(document, keys, value):
        if key not in known:
            listed = ", ".join(known)
            raise document.error((*keys, key), f"is no key here{did_you_mean(key, known)} (known: {listed})")


def _check_version(document: Document) -> None:
    version = document.data.get("version", VERSION)
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise document.error(("version",), f"a version is a number, got {version!r}")
    if version > VERSION:
        raise document.error(
            ("version",), f"was written for version {version}, this release reads {VERSION}; install a newer release"
        )


# -- options


def _retries(document: Document, keys: Keys, value: Any) -> dict[str, Any]:
    table = {"times": value} if isinstance(value, int) else value
    _check_keys(document, keys, table, ("times", "delay", "backoff", "exceptions"))
    named = _texts(document, (*keys, "exceptions"), table.get("exceptions", []))
    exceptions = tuple(_imported(document, (*keys, "exceptions"), name) for name in named)
    given = {key: item for key, item in table.items() if key != "exceptions"}
    return {"retry": Retry.checked(**{"times": 0, **given}, exceptions=exceptions or Exception)}


def _timeout(document: Document, keys: Keys, value: Any) -> dict[str, Any]:
    seconds = _amount(document, keys, value)
    if not seconds:
        raise document.error(keys, "a time limit is a number of seconds above 0")
    return {"timeout": float(seconds)}


def _environment(document: Document, keys: Keys, value: Any) -> dict[str, Any]:
    table = _table(document, keys, value)
    for name, text in table.items():
        if not isinstance(text, str):
            raise document.error((*keys, name), f"the value of a variable is a text, got {text!r}")
    return {"environment": checked_environment({name: reference_in(text) for name, text in table.items()})}


def _plugin(document: Document, keys: Keys, value: Any) -> dict[str, Any]:
    plugin = _imported(document, keys, _text(document, keys, value))
    check_plugin(plugin)
    return {"plugin": plugin}


def _cache(document: Document, keys: Keys, value: Any) -> dict[str, Any]:
    table = {"mode": value} if isinstance(value, str) else value
    _check_keys(document, keys, table, tuple(_CACHE))
    for key, check in (("mode", check_cache_mode), ("max_age", checked_max_age)):
        try:
            if key in table:
                check(table[key])
        except OptionError as error:
            raise document.error((*keys, key), str(error)) from None
    options = {_CACHE[key]: item for key, item in table.items()}
    if "ignore" in options:
        options["ignore"] = _texts(document, (*keys, "ignore"), options["ignore"])
    return options


def _imported(document: Document, keys: Keys, path: str) -> Any:
    """Return what ``module:name`` names."""
    module, _, name = path.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError) as error:
        raise document.error(keys, f"{path!r} cannot be imported: {error}; write it as module:name") from None
    return found


def _engine(document: Document, keys: Keys, value: Any) -> dict[str, Any]:
    sections = _table(document, keys, value)
    for name, section in sections.items():
        _table(document, (*keys, name), section)
    return {"engine": sections}


_READERS: dict[str, Callable[[Document, Keys, Any], dict[str, Any]]] = {
    "retries": _retries,
    "timeout": _timeout,
    "environment": _environment,
    "image": lambda document, keys, value: {"image": _text(document, keys, value)},
    "packages": lambda document, keys, value: {"packages": _texts(document, keys, value)},
    "plugin": _plugin,
    "cache": _cache,
    "preview": lambda document, keys, value: {"preview": _bool(document, keys, value)},
    "tags": lambda document, keys, value: {"tags": _texts(document, keys, value)},
    "engine": _engine,
}


def _read(
    document: Document, keys: Keys, value: Any, reader: Callable[[Document, Keys, Any], dict[str, Any]]
) -> dict[str, Any]:
    try:
        return reader(document, keys, value)
    except ProfileError:
        raise
    except FunctionFuseError as error:
        raise document.error(keys, str(error)) from None


def _limits(document: Document, keys: Keys, value: Any) -> dict[str, int]:
    limits = _table(document, keys, value)
    for tag, limit in limits.items():
        if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
            raise document.error((*keys, tag), f"a limit is a whole number, 1 or more, got {limit!r}")
    return dict(limits)
