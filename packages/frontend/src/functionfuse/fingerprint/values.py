"""Digests of values, functions and classes that are equal in every process."""

from __future__ import annotations

import builtins
import copyreg
import importlib.util
import sys
from contextlib import contextmanager
from functools import cached_property
from hashlib import sha256
from operator import itemgetter
from pickle import PickleBuffer
from types import BuiltinFunctionType, CodeType, FunctionType, MappingProxyType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any

from functionfuse.containers import ATOMS, Nest
from functionfuse.decorator import Method, WorkflowClass, WorkflowFunction
from functionfuse.fingerprint.code import CodeFacts, facts_of
from functionfuse.fingerprint.cycles import CodeDigests, Described, ImportedModule
from functionfuse.fingerprint.project import in_project, library_name, module_code

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Out = Callable[[Any], object]  # takes bytes, or a buffer

BLOCK = 8 << 20  # bytes hashed by one thread at a time
_NOT_CODE = {
    "__dict__",
    "__weakref__",
    "__doc__",
    "__module__",
    "__qualname__",
    "__firstlineno__",
    "__static_attributes__",
    "__dataclass_fields__",  # generated, with the methods, from annotations and defaults
    "__dataclass_params__",
    "__slotnames__",  # noted by copyreg when the first object is pickled
    "__annotations_cache__",
    "_abc_impl",
}


class Unfingerprintable(Exception):  # noqa: N818  not an error for the user: it means "do not reuse"
    """A value has no fingerprint; the message says which and why."""


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


class Fingerprinter:
    """Computes digests; one instance serves one plan, because globals may change between two.

    Values are described by structure: containers by their items (sets in sorted order), arrays by their
    buffers, any other object by what it gives to pickle. Functions and classes of the project are described
    by their code and all that it uses; those of libraries by name.
    """

    def __init__(self) -> None:
        self._open: dict[int, int] = {}  # containers and objects being described: id to depth
        self._uses: list[object] = []  # code met in what is being described
        self._code = CodeDigests(self._describe)

    def digest(self, value: object) -> bytes:
        """Return 32 bytes that equal values share.

        Raises:
            Unfingerprintable: the value holds something without a lasting description, such as a lock.
        """
        hasher = sha256()
        uses: list[object] = []
        self._uses = uses
        try:
            self._feed(value, hasher.update)
            for use in uses:
                hasher.update(self._code.digest(use))
        except RecursionError:
            raise Unfingerprintable(f"{_short(value)} is nested too deeply") from None
        finally:
            self._open.clear()
        return hasher.digest()

    def stand_in(self, value: Any) -> Any:
        """Return what is described instead of an object: the object itself, unless a subclass overrides this."""
        return value

    def _describe(self, code: object) -> Described:
        """Describe a function, class or module without what it uses."""
        hasher = sha256()
        uses: list[object] = []
        self._uses = uses
        if isinstance(code, FunctionType):
            self._describe_function(code, hasher.update)
        elif isinstance(code, type):
            self._describe_class(code, hasher.update)
        else:
            assert isinstance(code, ImportedModule)
            self._describe_import(code, hasher.update)
        return Described(hasher.digest(), tuple(uses))

    def _feed(self, value: Any, out: Out) -> None:
        kind = type(value)
        if kind in ATOMS:
            data = _atom(value)
            out(b"%s %d:" % (kind.__name__.encode(), len(data)))
            out(data)
        elif kind in _FEEDERS:
            _FEEDERS[kind](self, value, out)
        elif isinstance(value, type):
            self._use(value, out)
        elif isinstance(value, CodeType):
            self._facts(facts_of(value), {}, out)
        else:
            with self._opened(value, out) as is_new:
                if is_new:
                    self._object(value, out)

    # -- containers

    def _sequence(self, value: Any, out: Out) -> None:
        out(b"%s %d[" % (type(value).__name__.encode(), len(value)))
        if ATOMS.issuperset(map(type, value)):
            for item in value:
                self._feed(item, out)
            return
        with self._opened(value, out) as is_new:
            if is_new:
                for item in value:
                    self._feed(item, out)

    def _mapping(self, value: Any, out: Out) -> None:
        out(b"dict %d{" % len(value))
        if _FLAT.issuperset(map(type, value.values())):
            for key, item in value.items():
                self._feed(key, out)
                self._feed(item, out)
            return
        with self._opened(value, out) as is_new:
            if is_new:
                for key, item in value.items():
                    self._feed(key, out)
                    self._feed(item, out)

    def _set(self, value: Any, out: Out) -> None:
        out(b"%s %d{" % (type(value).__name__.encode(), len(value)))
        outer = self._uses
        described = []
        for item in value:
            hasher = sha256()
            uses: list[object] = []
            self._uses = uses
            self._feed(item, hasher.update)
            described.append((hasher.digest(), [_sort_key(use) for use in uses], uses))
        self._uses = outer
        for digest, _, uses in sorted(described, key=itemgetter(0, 1)):
            out(digest)
            outer += uses

    def _buffer(self, value: Any, out: Out) -> None:
        view = value.raw() if isinstance(value, PickleBuffer) else memoryview(value).cast("B")
        out(b"bytes %d:" % view.nbytes)
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
        stand_in = self.stand_in(value)
        if stand_in is not value:
            self._feed(stand_in, out)
            return
        wrapped = getattr(value, "__wrapped__", None)
        if callable(wrapped) and not isinstance(value, type):
            out(b"wraps ")
            self._feed(wrapped, out)
        try:
            reducer = copyreg.dispatch_table.get(type(value))
            reduced = reducer(value) if reducer else value.__reduce_ex__(5)
        except Exception as error:
            raise Unfingerprintable(f"{_short(value)} has no lasting description: {error}") from None
        if isinstance(reduced, str):
            module = getattr(value, "__module__", None) or ""
            if in_project(module) and not callable(wrapped):
                raise Unfingerprintable(f"{_short(value)} is known by its name {reduced!r} only")
            out(f"name {module}.{reduced};".encode())
            return
        out(b"object(")
        for part in reduced[:3]:
            self._feed(part, out)
        for items in reduced[3:5]:
            self._feed(None if items is None else list(items), out)

    # -- code

    def _use(self, code: object, out: Out) -> None:
        """Note the use of a function, class or module, which is described separately, and once."""
        out(b"code;")
        self._uses.append(code)

    def _describe_function(self, function: FunctionType, out: Out) -> None:
        if not in_project(function.__module__) and "<" not in function.__qualname__:
            out(f"function {function.__module__}.{function.__qualname__};".encode())
            return
        out(b"code(")
        if isinstance(getattr(function, "registry", None), MappingProxyType):
            self._describe_dispatch(function, out)
            return
        self._feed(function.__defaults__, out)
        self._feed(function.__kwdefaults__, out)
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            out(f"closure {name}=".encode())
            with _blamed(f"{function.__qualname__}, variable {name!r} of its closure"):
                self._feed(_content(cell), out)
        with _blamed(function.__qualname__):
            self._facts(facts_of(function.__code__), function.__globals__, out)

    def _describe_dispatch(self, function: Any, out: Out) -> None:
        """Describe a ``functools.singledispatch`` function: one function for each type."""
        for kind, one in function.registry.items():
            self._feed(kind, out)
            self._feed(one, out)

    def _facts(self, facts: CodeFacts, namespace: dict[str, Any], out: Out) -> None:
        self._tokens(facts.tokens, out)
        for chain in sorted(facts.names):
            out(f"uses {'.'.join(chain)}=".encode())
            with _blamed(f"its global {'.'.join(chain)!r}"):
                self._feed(_look_up(chain, namespace), out)
        package = namespace.get("__package__") or ""
        for level, module, _ in sorted(facts.imports):
            name = importlib.util.resolve_name("." * level + module, package) if level else module
            out(f"imports {name}=".encode())
            self._imported(name, out)

    def _tokens(self, tokens: tuple[object, ...], out: Out) -> None:
        for token in tokens:
            if type(token) is tuple:
                out(b"(")
                self._tokens(token, out)
            else:
                self._feed(token, out)

    def _imported(self, name: str, out: Out) -> None:
        """Describe a module that code imports when it runs: all of it counts, and all that it imports."""
        code = module_code(name)
        if code is not None:
            self._use(self._code.imported.setdefault(name, ImportedModule(name, code)), out)

    def _describe_import(self, module: ImportedModule, out: Out) -> None:
        name = module.name
        package = name if name in sys.modules and hasattr(sys.modules[name], "__path__") else name.rpartition(".")[0]
        facts = facts_of(module.code)
        self._facts(CodeFacts(facts.tokens, frozenset(), facts.imports), {"__package__": package}, out)

    def _describe_class(self, cls: type, out: Out) -> None:
        out(f"class {cls.__module__}.{cls.__qualname__}(".encode())
        if not in_project(cls.__module__):
            return
        for base in (type(cls), *cls.__bases__):
            self._feed(base, out)
        for name, attribute in sorted(vars(cls).items()):
            if name == "__annotations__" and not attribute:  # made when somebody asks for them
                continue
            if name in _NOT_CODE or type(attribute).__name__ in ("member_descriptor", "getset_descriptor"):
                continue
            out(f"{name}=".encode())
            with _blamed(f"{cls.__qualname__}.{name}"):
                self._feed(attribute, out)

    def _module(self, module: ModuleType, out: Out) -> None:
        out(f"module {module.__name__};".encode())
        if in_project(module.__name__):
            self._imported(module.__name__, out)

    def _wrapper(self, value: Any, out: Out) -> None:
        self._feed(value.function if hasattr(value, "function") else value.__func__, out)

    def _method(self, method: Method, out: Out) -> None:
        self._feed(method.owner, out)
        out(f"method {method.name};".encode())

    def _bound(self, method: MethodType, out: Out) -> None:
        if not self._by_library_name(method, out):
            self._feed(method.__func__, out)
            self._feed(method.__self__, out)

    def _builtin(self, function: BuiltinFunctionType, out: Out) -> None:
        if self._by_library_name(function, out):
            return
        out(f"builtin {function.__module__}.{function.__qualname__};".encode())
        if function.__self__ is not None and not isinstance(function.__self__, ModuleType):
            self._feed(function.__self__, out)

    def _by_library_name(self, method: MethodType | BuiltinFunctionType, out: Out) -> bool:
        named = library_name(method)
        if named is not None:
            out(f"function {named[0].__name__}.{named[1]};".encode())
        return named is not None

    def _input(self, value: Input, out: Out) -> None:
        out(b"input %s" % value.digest.encode())
        if value.path:
            self._sequence(value.path, out)

    def _nest(self, value: Nest, out: Out) -> None:
        self._feed(value.value, out)

    def _slice(self, value: slice, out: Out) -> None:
        out(b"slice")
        self._sequence((value.start, value.stop, value.step), out)

    def _cached_property(self, value: cached_property[Any], out: Out) -> None:
        self._feed(value.func, out)

    def _property(self, value: property, out: Out) -> None:
        for function in (value.fget, value.fset, value.fdel):
            self._feed(function, out)

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
    bytearray: Fingerprinter._buffer,
    memoryview: Fingerprinter._buffer,
    PickleBuffer: Fingerprinter._buffer,
    FunctionType: Fingerprinter._use,
    BuiltinFunctionType: Fingerprinter._builtin,
    MethodType: Fingerprinter._bound,
    ModuleType: Fingerprinter._module,
    WorkflowFunction: Fingerprinter._wrapper,
    WorkflowClass: Fingerprinter._wrapper,
    staticmethod: Fingerprinter._wrapper,
    classmethod: Fingerprinter._wrapper,
    property: Fingerprinter._property,
    cached_property: Fingerprinter._cached_property,
    Input: Fingerprinter._input,
    Nest: Fingerprinter._nest,
    slice: Fingerprinter._slice,
    Method: Fingerprinter._method,
}


def _atom(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    return repr(value).encode()


def _content(cell: Any) -> object:
    try:
        return cell.cell_contents
    except ValueError:  # a variable that is assigned later
        return None


def _look_up(chain: tuple[str, ...], namespace: dict[str, Any]) -> object:
    """Return the object behind ``a.b.c``; attributes are followed through modules only."""
    name, *attributes = chain
    if name not in namespace:
        return name if hasattr(builtins, name) else None
    value = namespace[name]
    for attribute in attributes:
        if not isinstance(value, ModuleType):
            break
        if not in_project(value.__name__):
            return f"{value.__name__}.{'.'.join(attributes)}"
        value = getattr(value, attribute, None)
    return value


def _sort_key(code: Any) -> tuple[str, ...]:
    """Return a key that orders functions and classes in a set, where their digests are not known yet."""
    if isinstance(code, ImportedModule):
        return (code.name,)
    tokens = repr(facts_of(code.__code__).tokens) if isinstance(code, FunctionType) else ""
    return code.__module__ or "", code.__qualname__, tokens


def _short(value: object) -> str:
    return f"a {type(value).__module__}.{type(value).__qualname__}"


@contextmanager
def _blamed(where: str) -> Iterator[None]:
    try:
        yield
    except Unfingerprintable as error:
        raise Unfingerprintable(f"{where}: {error}") from None
