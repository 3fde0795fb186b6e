"""Recipes: the fingerprint of one step, in parts, so that a plan can name the part that changed."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any

from functionfuse.containers import Nest
from functionfuse.errors import OptionError
from functionfuse.fingerprint.encoding import Unfingerprintable
from functionfuse.fingerprint.values import Fingerprinter, Input
from functionfuse.plan import Recipe, Ref, fill

if TYPE_CHECKING:
    from collections.abc import Sequence

    from functionfuse.plan import Step
    from functionfuse.targets import Target

_HEX = 32  # 128 bits of a SHA-256


class Inherited(Unfingerprintable):
    """A step has no recipe because one that it needs has none."""


class RecipeBook:
    """Writes the recipes of a plan's steps, in plan order."""

    def __init__(self) -> None:
        self._fingerprinter = Fingerprinter()
        self._functions: dict[int, tuple[Target, str]] = {}
        self._digests: dict[str, str | None] = {}  # of results, by step; a stateful object's entry is its state's

    def write(self, step: Step, full_name: str) -> Recipe:
        """Return the recipe of a step; those of its parents have to be written first.

        Args:
            step: the step.
            full_name: its name with those of the dynamic steps around it, from which a plugin derives a seed.

        Raises:
            Unfingerprintable: something has no fingerprint; the step has to be left out.
        """
        options = step.options
        parts = {"function": self._function(step.target)}
        parts["arguments"], inputs = self._arguments(step, options.ignore)
        if inputs:
            parts["inputs"] = inputs
        if step.target.kind == "method":
            assert step.instance is not None
            state = self._digests[step.instance]
            if state is None:
                raise Inherited(f"it works on {step.instance!r}, which always runs")
            parts["object"] = state
        if options.plugin is not None:
            parts["plugin"] = self._digest((options.plugin, full_name))
        if options.version is not None:
            parts["version"] = self._digest(options.version)
        digest = sha256(repr(sorted(parts.items())).encode()).hexdigest()[:_HEX]
        self._digests[step.name] = digest
        if step.instance is not None:
            self._digests[step.instance] = digest
        return Recipe(digest, parts)

    def leave_out(self, step: Step) -> None:
        """Note that a step has no recipe, so that no step that takes its result has one."""
        self._digests[step.name] = None
        if step.instance is not None:
            self._digests[step.instance] = None

    def _function(self, target: Target) -> str:
        known = self._functions.get(id(target))
        if known is None:
            known = self._functions[id(target)] = target, self._digest(target)
        return known[1]

    def _arguments(self, step: Step, ignore: Sequence[str]) -> tuple[str, str]:
        """Return digests of the literal arguments, and of the results among them."""
        arguments: dict[str | int, Any] = dict(enumerate(step.args))
        arguments.update(step.kwargs)
        if ignore:
            arguments = _by_parameter(step, ignore)
        if not step.needs:
            return self._digest(arguments), ""
        literal = {key: fill(value, lambda ref: Input(ref.path)) for key, value in arguments.items()}
        inputs = {
            key: fill(value, lambda ref: Input(ref.path, self._result(ref.step)))
            for key, value in arguments.items()
            if type(value) in (Ref, Nest)
        }
        return self._digest(literal), self._digest(inputs) if inputs else ""

    def _result(self, name: str) -> str:
        digest = self._digests[name]
        if digest is None:
            raise Inherited(f"it takes the result of {name!r}, which always runs")
        return digest

    def _digest(self, value: object) -> str:
        return self._fingerprinter.digest(value).hex()[:_HEX]


def _by_parameter(step: Step, ignore: Sequence[str]) -> dict[str | int, Any]:
    """Return the arguments by the names of their parameters, without those to be ignored."""
    bound = step.target.check.signature().bind(*step.args, **step.kwargs)
    unknown = set(ignore) - set(bound.signature.parameters)
    if unknown:
        raise OptionError(
            f"{step.name!r} has no parameter {sorted(unknown)[0]!r} to ignore; {step.target.qualname} has "
            f"{', '.join(bound.signature.parameters)}"
        )
    return {name: value for name, value in bound.arguments.items() if name not in ignore}
