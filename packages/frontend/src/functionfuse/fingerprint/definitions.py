"""What functions, classes and modules do, and what they use."""

from __future__ import annotations

import builtins
import sys
from contextlib import suppress
from hashlib import file_digest, sha256
from types import BuiltinFunctionType, CodeType, FunctionType, MappingProxyType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any, get_type_hints

from functionfuse.fingerprint.code import EVERYTHING, NOTHING_READ, CodeFacts, facts_of, read_by
from functionfuse.fingerprint.encoding import Unfingerprintable, attribute_of, blamed, label, names_of
from functionfuse.fingerprint.library import GENERATED, checked_function
from functionfuse.fingerprint.modules import ImportedModule, absolute_names, is_data, module_named
from functionfuse.fingerprint.project import (
    class_in_project,
    extension_file,
    function_in_project,
    in_project,
    is_of_project,
    library_name,
)

if TYPE_CHECKING:
    from functools import cached_property

    from functionfuse.fingerprint.code import Detail
    from functionfuse.fingerprint.encoding import Out
    from functionfuse.targets import Method

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
_DESCRIPTORS = {"member_descriptor", "getset_descriptor"}

_MISSING = object()


class Definitions:
    """Describes definitions, each by itself, and notes which others it uses."""

    def __init__(self) -> None:
        self.uses: list[object] = []
        """The functions, classes and modules met in what is being described."""
        self.modules_read: set[str] = set()
        """The modules of the project whose attributes code reads: ``settings.N``."""
        self.counted = NOTHING_READ
        """What counts of the code that is being described, although it does not read it itself."""
        self.read: set[Detail] = set()
        """What the code that is being described reads of code."""
        self._code_digests: dict[CodeType, bytes] = {}
        self._modules: dict[str | int, ImportedModule | None] = {}

    def feed(self, value: Any, out: Out) -> None:
        """Describe any value.

        Args:
            value: what is described.
            out: takes the description.
        """
        raise NotImplementedError

    def use(self, code: object, out: Out) -> None:
        """Note the use of a function, class or module, which is described separately, and once.

        Args:
            code: what is described.
            out: takes the description.
        """
        out(b"code;")
        self.uses.append(code)

    def describe_function(self, function: FunctionType, out: Out) -> None:
        """Describe a function of a library by its name, of the project by its code and what that takes from outside.

        Args:
            function: what is described.
            out: takes the description.
        """
        if not function_in_project(function) and "<" not in function.__qualname__:
            self.read |= read_by(function.__name__)
            out(label("function", *names_of(function)))
            return
        checked = checked_function(function)
        if checked is not None:
            self.read.add("annotations")
            out(b"checked ")
            self.feed(checked, out)
            return
        out(b"code(")
        self._details(function, out)
        if isinstance(attribute_of(function, "registry"), MappingProxyType):
            self._describe_dispatch(function, out)
            return
        self.feed(function.__defaults__, out)
        self.feed(function.__kwdefaults__, out)
        facts = facts_of(function.__code__, self.counted)
        closure = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
        for name in facts.free:
            out(b"closure ")
            with blamed(f"{function.__qualname__}, variable {name!r} of its closure"):
                self.feed(_content(closure[name]), out)
        with blamed(f"{function.__qualname__}, its attributes"):
            self.feed({name: value for name, value in vars(function).items() if name != "__wrapped__"}, out)
        with blamed(function.__qualname__):
            self.facts(facts, function.__globals__, out)

    def _details(self, function: FunctionType, out: Out) -> None:
        """Describe what counts of a function only because code reads it."""
        if not in_project(function.__globals__.get("__name__") or "") and hasattr(function, "__wrapped__"):
            self.read.add("annotations")  # as of a function that a library wraps
        if "functions" in self.counted:
            out(label("named", *names_of(function)))
        if "annotations" in self.counted:
            with blamed(f"{function.__qualname__}, its annotations"):
                self.feed(attribute_of(function, "__annotations__"), out)
                self.feed(_hints(function), out)

    def _describe_dispatch(self, function: Any, out: Out) -> None:
        """Describe a ``functools.singledispatch`` function: one function for each type."""
        out(b"registry %d{" % len(function.registry))
        for kind, one in function.registry.items():
            self.feed(kind, out)
            self.feed(one, out)

    def facts(self, facts: CodeFacts, namespace: dict[str, Any], out: Out) -> None:
        """Describe what code does, and what it uses.

        Args:
            facts: of the code.
            namespace: the globals of the code.
            out: takes the description.
        """
        self.read |= facts.reads
        self._tokens(facts.tokens, out)
        out(b"uses %d:" % len(facts.names))
        for chain in sorted(facts.names):
            self.feed(chain, out)
            with blamed(f"its global {'.'.join(chain)!r}"):
                self._looked_up(chain, namespace, out)
        package = namespace.get("__package__") or ""
        modules: set[str] = set()
        for one in facts.imports:
            modules.update(absolute_names(one, package))
        out(b"imports %d:" % len(modules))
        for name in sorted(modules):
            out(label("module", name))
            self._imported(name, out)

    def _looked_up(self, chain: tuple[str, ...], namespace: dict[str, Any], out: Out) -> None:
        """Describe the object behind ``a.b.c``; attributes are followed through modules only."""
        name, *attributes = chain
        value = namespace.get(name, _MISSING)
        if value is _MISSING:
            self._builtin_named(name, out)
            return
        for attribute in attributes:
            if not isinstance(value, ModuleType):
                break
            if not is_of_project(value):
                out(label("of library", value.__name__))
                return
            self.modules_read.add(value.__name__)
            value = getattr(value, attribute, None)
        self.feed(value, out)

    def _builtin_named(self, name: str, out: Out) -> None:
        """Describe a name that is none of the module's: Python's own, unless the project made it a built-in one.

        A library may put its own function there while a program runs, as Ray does with `print`.
        """
        value = getattr(builtins, name, _MISSING)
        out(b"missing;" if value is _MISSING else b"builtin;")
        if is_data(value) or (isinstance(value, FunctionType) and function_in_project(value)):
            self.feed(value, out)

    def _tokens(self, tokens: tuple[object, ...], out: Out) -> None:
        for token in tokens:
            if type(token) is tuple:
                out(b"(%d " % len(token))
                self._tokens(token, out)
            else:
                self.feed(token, out)

    def _imported(self, name: str, out: Out) -> None:
        """Describe a module that code imports when it runs: all of it counts, and all that it imports."""
        if name not in self._modules:
            self._modules[name] = module_named(name)
        module = self._modules[name]
        if module is not None:
            self.use(module, out)

    def describe_import(self, module: ImportedModule, out: Out) -> None:
        """Describe the file of a module, and what differs from it in memory.

        Args:
            module: what is described.
            out: takes the description.
        """
        file = extension_file(module.name)
        if file is not None:
            self._extension(file, out)
        if module.code is not None:
            facts = facts_of(module.code, self.counted)._replace(names=frozenset())
            self.facts(facts, {"__package__": module.package}, out)
        for name, value in module.changes(self.code_alone):
            with suppress(Unfingerprintable):  # it is made as the file says
                digest, uses = self.apart(value)
                out(label("now", name))
                out(digest)
                self.uses += uses

    def apart(self, value: object) -> tuple[bytes, list[object]]:
        """Return a digest of the description of a value, and the definitions that it uses."""
        hasher, outer = sha256(), self.uses
        uses = self.uses = []
        try:
            self.feed(value, hasher.update)
        finally:
            self.uses = outer
        return hasher.digest(), uses

    def code_alone(self, code: CodeType) -> bytes:
        if code not in self._code_digests:
            hasher = sha256()
            self._tokens(facts_of(code, EVERYTHING).tokens, hasher.update)
            self._code_digests[code] = hasher.digest()
        return self._code_digests[code]

    def _extension(self, file: str, out: Out) -> None:
        """Describe a module that was compiled from another language."""
        with open(file, "rb") as content:  # noqa: PTH123
            out(b"extension ")
            out(file_digest(content, "sha256").digest())

    def describe_class(self, cls: type, out: Out) -> None:
        """Describe a class of a library by its name, of the project by its attributes.

        Args:
            cls: the class.
            out: takes the description.
        """
        is_own = class_in_project(cls)
        if is_own and "<locals>" in cls.__qualname__ and "classes" not in self.counted:
            out(label("local class", cls.__name__))
        else:  # by which stored results of the class refer to it
            out(label("class", *names_of(cls)))
        if not is_own:
            return
        file = extension_file(cls.__module__)
        if file is not None:
            self._extension(file, out)
        bases = [base for base in cls.__bases__ if base.__module__ != "functionfuse.stateful"]  # which does nothing
        self.feed((type(cls), *(bases or [object])), out)
        for name, attribute in sorted(vars(cls).items()):
            if name == "__annotations__" and not attribute:  # made when somebody asks for them
                continue
            if name in _NOT_CODE or name in GENERATED or type(attribute).__name__ in _DESCRIPTORS:
                continue
            out(label("attribute", name))
            with blamed(f"{cls.__qualname__}.{name}"):
                self.feed(attribute, out)
        fields = vars(cls).get("__dataclass_fields__")
        if fields:  # the rest of them is in the generated methods
            out(b"metadata ")
            self.feed({name: one.metadata for name, one in fields.items()}, out)

    def module(self, module: ModuleType, out: Out) -> None:
        """Describe a module.

        Args:
            module: what is described.
            out: takes the description.
        """
        out(label("module", module.__name__))
        if sys.modules.get(module.__name__) is module:
            self._imported(module.__name__, out)
        elif is_of_project(module):  # loaded by its path
            self.use(self._modules.setdefault(id(module), ImportedModule(module)), out)

    def wrapper(self, value: Any, out: Out) -> None:
        """Describe what a decorator of this package wraps.

        Args:
            value: what is described.
            out: takes the description.
        """
        self.feed(value.function if hasattr(value, "function") else value.__func__, out)

    def of_class(self, value: Any, out: Out) -> None:
        """Describe a static method or a class method.

        Args:
            value: what is described.
            out: takes the description.
        """
        out(b"%s " % type(value).__name__.encode())
        self.feed(value.__func__, out)

    def method(self, method: Method, out: Out) -> None:
        """Describe a method of a decorated class.

        Args:
            method: what is described.
            out: takes the description.
        """
        self.feed(method.owner, out)
        out(label("method", method.name))

    def bound(self, method: MethodType, out: Out) -> None:
        """Describe a method with its object.

        Args:
            method: what is described.
            out: takes the description.
        """
        if not self._by_library_name(method, out):
            out(b"bound ")
            self.feed(method.__func__, out)
            self.feed(method.__self__, out)

    def builtin(self, function: BuiltinFunctionType, out: Out) -> None:
        """Describe a function that is not written in Python.

        Args:
            function: what is described.
            out: takes the description.
        """
        self.read |= read_by(function.__name__)
        if self._by_library_name(function, out):
            return
        file = extension_file(function.__module__ or "")
        if file is not None:
            self._extension(file, out)
        out(label("builtin", *names_of(function)))
        if function.__self__ is not None and not isinstance(function.__self__, ModuleType):
            self.feed(function.__self__, out)

    def _by_library_name(self, method: MethodType | BuiltinFunctionType, out: Out) -> bool:
        named = library_name(method)
        if named is not None:
            out(label("function", named[0].__name__, named[1]))
        return named is not None

    def cached_property_(self, value: cached_property[Any], out: Out) -> None:
        """Describe a cached property.

        Args:
            value: what is described.
            out: takes the description.
        """
        out(b"cached_property ")
        self.feed(value.func, out)

    def property_(self, value: property, out: Out) -> None:
        """Describe a property.

        Args:
            value: what is described.
            out: takes the description.
        """
        out(b"property ")
        for function in (value.fget, value.fset, value.fdel):
            self.feed(function, out)


def _hints(function: FunctionType) -> object:
    """Return the annotations of a function as `typing` reads them; None where they cannot be read."""
    try:
        return get_type_hints(function, include_extras=True)
    except Exception:
        return None


def _content(cell: Any) -> object:
    try:
        return cell.cell_contents
    except ValueError:  # a variable that is assigned later
        return None
