"""Digests of values, functions and classes that are equal in every process."""

from __future__ import annotations

import copyreg
from contextlib import contextmanager
from functools import cached_property, partial
from hashlib import sha256
from pickle import PickleBuffer
from types import BuiltinFunctionType, CodeType, FunctionType, MappingProxyType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any

from functionfuse.containers import ATOMS, Nest
from functionfuse.decorator import Method, WorkflowClass, WorkflowFunction
from functionfuse.fingerprint.code import EVERYTHING, NOTHING_READ, facts_of
from functionfuse.fingerprint.cycles import CodeDigests, Described
from functionfuse.fingerprint.definitions import Definitions
from functionfuse.fingerprint.encoding import Unfingerprintable, attribute_of, label, names_of, short, text_of
from functionfuse.fingerprint.library import CACHE, named_code, stand_in
from functionfuse.fingerprint.modules import ImportedModule
from functionfuse.fingerprint.project import class_in_project, extension_file, held_by_library, in_project

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from functionfuse.fingerprint.code import Detail
    from functionfuse.fingerprint.encoding import Out

BLOCK = 8 << 20  # bytes hashed by one thread at a time


class Input:
    """Another step's result in an argument, described by the digest of its recipe.

    Args:
        path: the keys of the item that the argument takes from the result.
        digest: of the result's recipe; empty where only the position of the result counts.
    """

    __slots__ = ("digest", "path")

    def __init__(self, path: tuple[object, ...], digest: str = "") -> None:
        self.path = path
        self.digest = digest


class Fingerprinter(Definitions):
    """Computes digests; one instance serves one plan, because globals may change between two.

    Values are described by structure: containers by their items (sets in sorted order), arrays by their
    buffers, any other object by what it gives to pickle. Functions and classes of the project are described
    by their code and all that it uses; those of libraries by name.
    """

    def __init__(self) -> None:
        super().__init__()
        self._open: dict[int, int] = {}  # containers and objects being described: id to depth
        self._digests: dict[frozenset[Detail], CodeDigests] = {}  # by what counts

    def digest(self, value: object, counted: frozenset[Detail] = NOTHING_READ) -> bytes:
        """Return 32 bytes that equal values share.

        Args:
            value: what is described.
            counted: what counts of code, beside that which code within the value reads.

        Raises:
            Unfingerprintable: the value holds something without a lasting description, such as a lock.
        """
        hasher = sha256()
        uses = self.uses = []
        reads = self.read = set()
        try:
            self.feed(value, hasher.update)
            if uses:
                code = self._counting(self._all_read(uses, counted.union(reads)))
                for use in uses:
                    hasher.update(code.digest(use))
        except Unfingerprintable:
            raise
        except RecursionError:
            raise Unfingerprintable(f"{short(value)} is nested too deeply") from None
        except Exception as error:
            raise Unfingerprintable(f"{short(value)} cannot be described: {text_of(error)}") from None
        finally:
            self._open.clear()
        return hasher.digest()

    def reads(self, value: object) -> frozenset[Detail]:
        """Return what the code of a value that has a digest reads of code, its own and that of others."""
        reads = self.read = set()
        _, uses = self.apart(value)
        return self._all_read(uses, frozenset(reads))

    def definitions(self) -> Iterator[tuple[object, bytes]]:
        """Yield the functions, classes and modules that digests so far depend on, each with its own digest."""
        described = {id(code): code for digests in self._digests.values() for code in digests.described()}
        for code in described.values():
            yield code, self._counting(self._all_read([code], NOTHING_READ)).digest(code)

    def used_by(self, value: object) -> Iterator[tuple[object, bytes, frozenset[Detail]]]:
        """Yield the functions, classes and modules that a value depends on, nearest first.

        With each comes the digest of its own description, and what counts of its code.
        """
        _, roots = self.apart(value)
        counted = self._all_read(roots, NOTHING_READ)
        for code, described in self._counting(counted).walk(roots):
            yield code, described.digest, counted

    def _all_read(self, uses: list[object], counted: frozenset[Detail]) -> frozenset[Detail]:
        """Return what counts of code that is used together: what is counted anyway, and what it reads."""
        while True:  # what counts may use more code, which may read more
            code = self._counting(counted)
            read = counted.union(*map(code.reads, uses))
            if read == counted:
                return counted
            counted = read

    def _counting(self, counted: frozenset[Detail]) -> CodeDigests:
        if counted not in self._digests:
            self._digests[counted] = CodeDigests(partial(self._describe, counted))
        return self._digests[counted]

    def stand_in(self, value: Any) -> Any:
        """Return what is described instead of an object; the object itself where it is described as it is."""
        return stand_in(value)

    def _describe(self, counted: frozenset[Detail], code: object) -> Described:
        """Describe a function, class or module without what it uses."""
        hasher = sha256()
        uses = self.uses = []
        reads = self.read = set()
        self.counted = counted
        if isinstance(code, FunctionType):
            self.describe_function(code, hasher.update)
        elif isinstance(code, type):
            self.describe_class(code, hasher.update)
        else:
            assert isinstance(code, ImportedModule)
            self.describe_import(code, hasher.update)
        return Described(hasher.digest(), tuple(uses), frozenset(reads))

    def feed(self, value: Any, out: Out) -> None:
        kind = type(value)
        if kind in ATOMS:
            data = _atom(value)
            out(b"%s %d:" % (kind.__name__.encode(), len(data)))
            out(data)
        elif kind in _FEEDERS:
            _FEEDERS[kind](self, value, out)
        elif isinstance(value, type):
            self.use(value, out)
        elif isinstance(value, CodeType):
            out(b"code of ")
            self.facts(facts_of(value, EVERYTHING), {}, out)
        else:
            with self._opened(value, out) as is_new:
                if is_new:
                    self._object(value, out)

    # -- containers

    def _sequence(self, value: Any, out: Out) -> None:
        out(b"%s %d[" % (type(value).__name__.encode(), len(value)))
        if _FLAT.issuperset(map(type, value)):
            for item in value:
                self.feed(item, out)
            return
        with self._opened(value, out) as is_new:
            if is_new:
                for item in value:
                    self.feed(item, out)

    def _mapping(self, value: Any, out: Out) -> None:
        out(b"%s %d{" % (type(value).__name__.encode(), len(value)))
        if _FLAT.issuperset(map(type, value.values())):
            for key, item in value.items():
                self.feed(key, out)
                self.feed(item, out)
            return
        with self._opened(value, out) as is_new:
            if is_new:
                for key, item in value.items():
                    self.feed(key, out)
                    self.feed(item, out)

    def _set(self, value: Any, out: Out) -> None:
        out(b"%s %d{" % (type(value).__name__.encode(), len(value)))
        described = [self.apart(item) for item in value]
        for digest, uses in sorted(described, key=lambda one: (one[0], [_sort_key(use) for use in one[1]])):
            out(digest)
            self.uses += uses

    def _bytearray(self, value: bytearray, out: Out) -> None:
        out(b"bytearray ")
        self._bytes(memoryview(value), out)

    def _memoryview(self, view: memoryview, out: Out) -> None:
        out(label("memoryview", view.format))
        self._sequence((view.readonly, *(view.shape or ())), out)
        is_flat = view.c_contiguous and view.nbytes
        self._bytes(view.cast("B") if is_flat else memoryview(view.tobytes()), out)

    def _buffer(self, value: PickleBuffer, out: Out) -> None:
        out(b"buffer ")
        self._bytes(value.raw(), out)

    def _bytes(self, view: memoryview, out: Out) -> None:
        """Describe contiguous bytes; many of them by blocks, on several threads."""
        out(b"%d:" % view.nbytes)
        if view.nbytes <= 2 * BLOCK:
            out(view)
            return
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(4) as pool:  # hashing releases the interpreter lock
            blocks = [view[start : start + BLOCK] for start in range(0, view.nbytes, BLOCK)]
            for digest in pool.map(lambda block: sha256(block).digest(), blocks):
                out(digest)

    # -- any other object

    def _object(self, value: Any, out: Out) -> None:
        instead = self.stand_in(value)
        if instead is not value:
            out(label("instead of", *names_of(type(value))))
            self.feed(instead, out)
            return
        wrapped = attribute_of(value, "__wrapped__")
        if callable(wrapped):
            out(b"wraps ")
            if not (class_in_project(type(value)) or isinstance(value, CACHE)):
                self.read.add("annotations")
            self.feed(wrapped, out)
        elif callable(value) and not class_in_project(type(value)) and self._by_holder(value, out):
            return
        try:
            reducer = copyreg.dispatch_table.get(type(value))
            reduced = reducer(value) if reducer else value.__reduce_ex__(5)
        except Exception as error:
            if self._by_holder(value, out):
                return
            raise Unfingerprintable(f"{short(value)} has no lasting description: {text_of(error)}") from None
        if isinstance(reduced, str):
            self._named(value, reduced, out, is_described=callable(wrapped))
            return
        out(b"object %d(" % len(reduced))
        for part in reduced[:3]:
            self.feed(part, out)
        for items in reduced[3:5]:
            self.feed(None if items is None else list(items), out)
        for part in reduced[5:]:
            self.feed(part, out)
        for code in named_code(reduced[1]):
            self.feed(code, out)

    def _named(self, value: Any, name: str, out: Out, *, is_described: bool) -> None:
        """Describe an object that is pickled by its name alone."""
        module = attribute_of(value, "__module__") or ""
        file = extension_file(module)
        if file is not None:
            self._extension(file, out)
        elif in_project(module) and not is_described:
            if self._by_holder(value, out):
                return
            raise Unfingerprintable(f"{short(value)} is known by its name {name!r} only")
        out(label("name", module, name))

    def _by_holder(self, value: Any, out: Out) -> bool:
        """Describe an object by where a module of a library holds it, if one does."""
        place = held_by_library(value)
        if place is not None:
            out(label("held", *place))
        return place is not None

    def _input(self, value: Input, out: Out) -> None:
        digest = value.digest.encode()
        out(b"input %d:%s" % (len(digest), digest))  # as `label`, for the many
        if value.path:
            self._sequence(value.path, out)
        else:
            out(b"tuple 0[")

    def _nest(self, value: Nest, out: Out) -> None:
        self.feed(value.value, out)

    def _slice(self, value: slice, out: Out) -> None:
        out(b"slice ")
        self._sequence((value.start, value.stop, value.step), out)

    # -- values that contain themselves

    @contextmanager
    def _opened(self, value: object, out: Out) -> Iterator[bool]:
        """Mark a value as being described; one that contains itself is described there by its distance."""
        depth = self._open.get(id(value))
        if depth is not None:
            out(b"again %d;" % (len(self._open) - depth))
            yield False
            return
        self._open[id(value)] = len(self._open)
        try:
            yield True
        finally:
            del self._open[id(value)]


_FLAT = ATOMS | {Input}
_FEEDERS: dict[type, Callable[[Fingerprinter, Any, Any], None]] = {
    list: Fingerprinter._sequence,
    tuple: Fingerprinter._sequence,
    dict: Fingerprinter._mapping,
    MappingProxyType: Fingerprinter._mapping,
    set: Fingerprinter._set,
    frozenset: Fingerprinter._set,
    bytearray: Fingerprinter._bytearray,
    memoryview: Fingerprinter._memoryview,
    PickleBuffer: Fingerprinter._buffer,
    FunctionType: Fingerprinter.use,
    BuiltinFunctionType: Fingerprinter.builtin,
    MethodType: Fingerprinter.bound,
    ModuleType: Fingerprinter.module,
    WorkflowFunction: Fingerprinter.wrapper,
    WorkflowClass: Fingerprinter.wrapper,
    staticmethod: Fingerprinter.of_class,
    classmethod: Fingerprinter.of_class,
    property: Fingerprinter.property_,
    cached_property: Fingerprinter.cached_property_,
    Input: Fingerprinter._input,
    Nest: Fingerprinter._nest,
    slice: Fingerprinter._slice,
    Method: Fingerprinter.method,
}


def _atom(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    if type(value) is int:
        return b"%x" % value  # in decimal, Python refuses many digits
    return repr(value).encode()


def _sort_key(code: Any) -> tuple[str, ...]:
    """Return a key that orders functions and classes in a set, where their digests are not known yet."""
    if isinstance(code, ImportedModule):
        return (code.name,)
    tokens = repr(facts_of(code.__code__).tokens) if isinstance(code, FunctionType) else ""
    return code.__name__, tokens, code.__qualname__, code.__module__ or ""
