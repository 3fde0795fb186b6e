"""Digests of functions, classes and modules, which may use each other in circles."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from functionfuse.fingerprint.code import Detail


class Described(NamedTuple):
    """What some code does by itself.

    Attributes:
        digest: of its own description.
        uses: the functions, classes and modules that it uses, in the order of the description.
        reads: what it reads of code, which counts for all code that is described together with it.
    """

    digest: bytes
    uses: tuple[object, ...]
    reads: frozenset[Detail]


class CodeDigests:
    """Computes digests of code from descriptions, so that each depends on all that the code uses, and only on that.

    Code that uses itself, directly or through others, makes a circle: a strongly connected component of the graph
    of uses, found with Tarjan's algorithm (SIAM J. Comput. 1, 1972). The digest of its members is that of a walk
    through the circle which starts at the member, so that it does not depend on which digest was computed first.
    """

    def __init__(self, describe: Callable[[object], Described]) -> None:
        self._describe = describe
        self._described: dict[int, tuple[object, Described]] = {}  # by id; the code is kept, for its id to last
        self._circles: dict[int, frozenset[int]] = {}
        self._digests: dict[int, bytes] = {}
        self._reads: dict[frozenset[int], frozenset[Detail]] = {}

    def digest(self, code: object) -> bytes:
        """Return the digest of a function, class or module, with all that it uses."""
        known = self._digests.get(id(code))
        if known is None:
            if id(code) not in self._circles:
                self._find_circles(code, {}, [])
            known = self._digests[id(code)] = self._walk(code)
        return known

    def reads(self, code: object) -> frozenset[Detail]:
        """Return what a function, class or module, and all that it uses, reads of code."""
        if id(code) not in self._circles:
            self._find_circles(code, {}, [])
        circle = self._circles[id(code)]
        known = self._reads.get(circle)
        if known is None:
            members = [self._described[member][1] for member in circle]
            outside = {id(use): use for member in members for use in member.uses if id(use) not in circle}
            reads = [member.reads for member in members] + [self.reads(use) for use in outside.values()]
            known = self._reads[circle] = frozenset().union(*reads)
        return known

    def described(self) -> list[object]:
        """Return all functions, classes and modules that were described so far."""
        return [code for code, _ in self._described.values()]

    def walk(self, roots: Iterable[object]) -> Iterator[tuple[object, Described]]:
        """Yield code, and all that it uses, each once and nearest first."""
        pending = {id(code): code for code in roots}
        seen = set(pending)
        while pending:
            code = pending.pop(next(iter(pending)))
            described = self._description(code)
            yield code, described
            pending.update({id(use): use for use in described.uses if id(use) not in seen})
            seen.update(pending)

    def _description(self, code: object) -> Described:
        if id(code) not in self._described:
            self._described[id(code)] = code, self._describe(code)
        return self._described[id(code)][1]

    def _find_circles(self, code: object, numbers: dict[int, int], stack: list[object]) -> int:
        """Put ``code`` and all that it uses into circles; return the least number that is reached from it."""
        number = lowest = numbers[id(code)] = len(numbers)
        index = len(stack)
        stack.append(code)
        for use in self._description(code).uses:
            if id(use) in self._circles:
                continue
            seen = numbers.get(id(use))
            lowest = min(lowest, self._find_circles(use, numbers, stack) if seen is None else seen)
        if lowest == number:
            circle = frozenset(map(id, stack[index:]))
            self._circles.update(dict.fromkeys(circle, circle))
            del stack[index:]
        return lowest

    def _walk(self, start: object) -> bytes:
        circle = self._circles[id(start)]
        numbers = {id(start): 0}
        hasher = sha256()
        walk = [start]
        for code in walk:  # which grows
            described = self._description(code)
            hasher.update(described.digest)
            for use in described.uses:
                if id(use) not in circle:
                    hasher.update(self.digest(use))
                    continue
                if id(use) not in numbers:
                    numbers[id(use)] = len(numbers)
                    walk.append(use)
                hasher.update(b"<%d>" % numbers[id(use)])
        return hasher.digest()
