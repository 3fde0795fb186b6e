"""Recipes: the fingerprint of one step, in parts, so that a plan can name the part that changed."""

from __future__ import annotations

from collections import ChainMap
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

from functionfuse.containers import Nest
from functionfuse.errors import UsageError
from functionfuse.fingerprint.arguments import Parameters
from functionfuse.fingerprint.code import NOTHING_READ
from functionfuse.fingerprint.encoding import Unfingerprintable
from functionfuse.fingerprint.values import Fingerprinter, Input
from functionfuse.plan import Recipe, Ref, fill

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, MutableMapping

    from functionfuse.fingerprint.code import Detail
    from functionfuse.plan import Step
    from functionfuse.targets import Target

_HEX = 32  # 128 bits of a SHA-256


class Inherited(Unfingerprintable):
    """A step has no recipe because one that it needs has none."""


class _Known(NamedTuple):
    """What all calls of a target have in common.

    Attributes:
        target: what is called.
        digest: of its code.
        reads: what the code reads of other code, which counts in its arguments too.
        parameters: by which the arguments of a call are described.
    """

    target: Target
    digest: str
    reads: frozenset[Detail]
    parameters: Parameters


class RecipeBook:
    """Writes the recipes of a plan's steps, in plan order."""

    def __init__(self) -> None:
        self.fingerprinter = Fingerprinter()
        self._targets: dict[int, _Known] = {}  # by id; the target is kept, for its id to last
        # Of results, by step; the entry of a stateful object is its state's.
        self._digests: MutableMapping[str, str | None] = {}

    def write(self, step: Step, full_name: str) -> Recipe:
        """Return the recipe of a step; those of its parents have to be written first.

        Args:
            step: the step.
            full_name: its name with those of the dynamic steps around it, from which a plugin derives a seed.

        Raises:
            Unfingerprintable: something has no fingerprint; the step has to be left out.
        """
        options = step.options
        known = self._known(step.target)
        parts = {"function": known.digest}
        try:
            parts["arguments"], inputs = self._arguments(step, known)
        except Inherited:
            raise
        except Unfingerprintable as problem:
            raise Unfingerprintable(f"{self._culprit(step)}{problem}") from None
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
        return self.take(step, Recipe(_digest_of(parts), parts))

    def take(self, step: Step, recipe: Recipe) -> Recipe:
        """Take another recipe for a step than was written, for those of the steps that take its result; return it.

        Args:
            step: the step.
            recipe: the other one.
        """
        self._digests[step.name] = recipe.digest
        if step.instance is not None:
            self._digests[step.instance] = recipe.digest
        return recipe

    def having(self, step: Step, recipe: Recipe, part: str, content: str) -> Recipe:
        """Return a recipe with one more part, and take it for a step.

        Args:
            step: the step.
            recipe: that was written for it.
            part: the name of the part.
            content: what it consists of.
        """
        parts = {**recipe.parts, part: content}
        return self.take(step, Recipe(_digest_of(parts), parts))

    def digest_with(self, step: Step, recipe: Recipe, inputs: Mapping[str, str]) -> str:
        """Return the digest that the recipe of a step would have if it took results of other recipes.

        Args:
            step: the step.
            recipe: that was written for it.
            inputs: digests of other recipes, by the names of the steps whose results they stand for.
        """
        own = self._digests
        self._digests = ChainMap(dict(inputs), own)
        try:
            _, digest = self._arguments(step, self._known(step.target))
        except Unfingerprintable:  # here, where another process wrote the recipe
            return recipe.digest
        finally:
            self._digests = own
        return _digest_of({**recipe.parts, "inputs": digest})

    def leave_out(self, step: Step) -> None:
        """Note that a step has no recipe, so that no step that takes its result has one."""
        self._digests[step.name] = None
        if step.instance is not None:
            self._digests[step.instance] = None

    def _known(self, target: Target) -> _Known:
        known = self._targets.get(id(target))
        if known is None:
            digest = self._digest(target)
            reads = self.fingerprinter.reads(target)
            known = self._targets[id(target)] = _Known(target, digest, reads, Parameters(target, self._has_digest))
        return known

    def _has_digest(self, value: object) -> bool:
        try:
            self._digest(value)
        except Unfingerprintable:
            return False
        return True

    def _arguments(self, step: Step, known: _Known) -> tuple[str, str]:
        """Return digests of the literal arguments, and of the results among them."""
        arguments = known.parameters.arrange(step, step.options.ignore)
        if not step.needs:
            return self._digest(arguments, known.reads), ""
        literal = [fill(value, lambda ref: Input(ref.path)) for value in arguments]
        inputs = [
            fill(value, lambda ref: Input(ref.path, self._result(ref.step)))
            for value in arguments
            if type(value) in (Ref, Nest)
        ]
        return self._digest(literal, known.reads), self._digest(inputs) if inputs else ""

    def _culprit(self, step: Step) -> str:
        """Return words for the argument that has no fingerprint; "" where it is not found."""
        try:
            given = step.target.check.signature().bind(*step.args, **step.kwargs).arguments
        except (TypeError, UsageError):
            return ""
        for name, value in given.items():
            if name not in step.options.ignore and not self._has_digest(fill(value, lambda ref: Input(ref.path))):
                return f"argument {name} cannot be fingerprinted: "
        return ""

    def _result(self, name: str) -> str:
        digest = self._digests[name]
        if digest is None:
            raise Inherited(f"it takes the result of {name!r}, which always runs")
        return digest

    def _digest(self, value: object, counted: frozenset[Detail] = NOTHING_READ) -> str:
        return self.fingerprinter.digest(value, counted).hex()[:_HEX]


def book_of(steps: Iterable[Step]) -> RecipeBook:
    """Return a book with the recipes of steps, as another process wrote them.

    Args:
        steps: in the order of their plan.
    """
    book = RecipeBook()
    for step in steps:
        if step.recipe is None:
            book.leave_out(step)
        else:
            book.take(step, step.recipe)
    return book


def _digest_of(parts: Mapping[str, str]) -> str:
    return sha256(repr(sorted(parts.items())).encode()).hexdigest()[:_HEX]
