"""Plugins: functions that a process calls before a node runs there."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Self

from functionfuse.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class Plugin:
    """Base of plugins; any object with the two methods ``local_initialize`` and ``remote_initialize`` is one too."""

    def for_node(self, name: str) -> Self:  # noqa: ARG002  for subclasses
        """Return the plugin to use for the node of this name."""
        return self

    def local_initialize(self) -> None:
        """Prepare in the driver, before the node is sent to its worker."""

    def remote_initialize(self) -> Callable[[], object]:
        """Return the function that the worker calls before the node; it has to be picklable."""
        return _do_nothing


class InitializerPlugin(Plugin):
    """Calls a function in the worker before each node: ``InitializerPlugin(set_float64)``."""

    def __init__(self, func: Callable[[], object]) -> None:
        self.func = func

    def remote_initialize(self) -> Callable[[], object]:
        """Return the function."""
        return self.func


class RandomStatePlugin(Plugin):
    """Seeds random number generators before each node, with a seed of the node's own.

    The node's seed is derived from ``seed`` and the node's name with SHA-256, uniformly in
    [``min``, ``max``]. So a result depends neither on the engine, nor on the order of execution or the
    number of workers.

    A subclass may count, in a `local_initialize` of its own: what that makes of ``seed`` is the seed of the next node.

    Args:
        min: smallest seed that ``seed_func`` takes.
        max: largest seed that ``seed_func`` takes.
        seed: the seed of the whole workflow, any integer.
        seed_func: called with the node's seed, for example ``numpy.random.seed``.

    Raises:
        OptionError: ``min`` is above ``max``.
    """

    def __init__(self, min: int, max: int, seed: int, seed_func: Callable[[int], object]) -> None:
        if min > max:
            raise OptionError(f"no seed lies between min={min!r} and max={max!r}")
        self.min = min
        self.max = max
        self.seed = seed
        self.seed_func = seed_func
        self.node_name: str | None = None

    def for_node(self, name: str) -> Self:
        """Return a copy with the seed of this node.

        What a subclass changes in a `local_initialize` of its own, it changes of this plugin.
        """
        if type(self).local_initialize is not Plugin.local_initialize:
            return _Counting(self, name)  # type: ignore[return-value]
        return self._copy_for(name)

    def _copy_for(self, name: str | None) -> Self:
        plugin = copy.copy(self)
        plugin.node_name = name
        return plugin

    def node_seed(self) -> int:
        """Return the seed for the node that this plugin is for; ``seed`` itself if it is for none."""
        if self.node_name is None:
            return self.seed
        from hashlib import sha256  # which takes long to import, and is not needed by most processes

        text = f"{self.seed}:{self.node_name}".encode("utf-8", "surrogatepass")
        return self.min + int.from_bytes(sha256(text).digest()) % (self.max - self.min + 1)

    def remote_initialize(self) -> Callable[[], object]:
        """Return a function that calls ``seed_func`` with the node's seed."""
        return _Call(self.seed_func, self.node_seed())


class _Counting(Plugin):
    """A plugin for one node whose `local_initialize` changes the plugin, as a counter does."""

    def __init__(self, plugin: RandomStatePlugin, name: str) -> None:
        self.plugin = plugin
        self.name = name
        self.sets_seed = False

    def local_initialize(self) -> None:
        before = self.plugin.seed
        self.plugin.local_initialize()
        self.sets_seed = self.plugin.seed != before

    def remote_initialize(self) -> Callable[[], object]:
        return self.plugin._copy_for(None if self.sets_seed else self.name).remote_initialize()


class PluginCollection(Plugin):
    """Several plugins, applied in the order given."""

    def __init__(self, plugins: Sequence[Plugin]) -> None:
        self.plugins = list(plugins)

    def for_node(self, name: str) -> Self:
        """Return a collection of the plugins to use for this node."""
        return type(self)([_for_node(plugin, name) for plugin in self.plugins])

    def local_initialize(self) -> None:
        """Prepare each plugin, in order."""
        for plugin in self.plugins:
            plugin.local_initialize()

    def remote_initialize(self) -> Callable[[], object]:
        """Return a function that calls each plugin's function, in order."""
        return _Calls([plugin.remote_initialize() for plugin in self.plugins])


def initializer(plugin: Plugin, name: str) -> Callable[[], object]:
    """Prepare a plugin for a node, and return the function that the worker calls before the node.

    Args:
        plugin: the plugin.
        name: the node's full name.
    """
    plugin = _for_node(plugin, name)
    plugin.local_initialize()
    return plugin.remote_initialize()


def check_plugin(plugin: object) -> None:
    """Raise OptionError unless the object can serve as a plugin."""
    for method in ("local_initialize", "remote_initialize"):
        if not callable(getattr(plugin, method, None)):
            raise OptionError(
                f"{plugin!r} is not a plugin: it has no method {method!r}; "
                "a function becomes one with InitializerPlugin(function)"
            )


def _for_node(plugin: Plugin, name: str) -> Plugin:
    choose = getattr(plugin, "for_node", None)
    return choose(name) if choose else plugin


def _do_nothing() -> None:
    pass


class _Call:
    """A function and its argument; unlike a closure it can be pickled."""

    def __init__(self, func: Callable[[int], object], argument: int) -> None:
        self.func = func
        self.argument = argument

    def __call__(self) -> None:
        self.func(self.argument)


class _Calls:
    """Functions called one after the other."""

    def __init__(self, functions: Sequence[Callable[[], object]]) -> None:
        self.functions = functions

    def __call__(self) -> None:
        for function in self.functions:
            function()
