"""What the nodes of the conformance suite call: importable, so that every worker finds them."""

from __future__ import annotations

import asyncio
import csv
import io
import itertools
import logging
import os
import pickle
import random
import sys
import threading
import time
import warnings
from contextlib import suppress
from functools import partial, partialmethod, singledispatchmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple
from weakref import WeakSet

from functionfuse import File, workflow
from functionfuse.testing.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable


class Point(NamedTuple):
    """A named tuple, which holds nodes like any other container."""

    x: Any
    y: Any


def note(log: str, word: str) -> None:
    """Append a word to a file atomically, from whatever process.

    Args:
        log: the file's path.
        word: without white space.
    """
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, f"{word}\n".encode())
    finally:
        os.close(descriptor)


def noted_words(log: str) -> list[str]:
    """Return the words noted in a file so far."""
    return Path(log).read_text().split() if Path(log).exists() else []


@workflow
def add(a, b):  # type: ignore[no-untyped-def]
    """Return the sum.

    Args:
        a: one summand.
        b: the other.
    """
    return a + b


@workflow
def total(values: Any) -> Any:
    """Return the sum of some values."""
    return sum(values)


@workflow
def same(value: Any) -> Any:
    """Return the argument."""
    return value


@workflow
def sorts(values: list[Any]) -> list[Any]:
    """Sort a list in place, and return a copy of it."""
    values.sort()
    return [*values]


@workflow
def twice(values: list[Any] | dict[str, Any]) -> Any:
    """Return a container that holds one list twice.

    Args:
        values: an empty container of that kind.
    """
    shared = [1]
    if isinstance(values, dict):
        values.update(first=shared, second=shared)
    else:
        values += [shared, shared]
    return values


@workflow
def distinct(values: list[Any] | dict[str, Any]) -> int:
    """Return how many objects a container holds."""
    return len(set(map(id, values.values() if isinstance(values, dict) else values)))


@workflow
def received(*args: Any, **kwargs: Any) -> Any:
    """Return all arguments.

    Args:
        args: positional ones.
        kwargs: keyword ones.
    """
    return args, kwargs


@workflow
def noted(log: str, word: str, value: Any = None, *needs: Any) -> Any:  # noqa: ARG001
    """Note that it ran, and return the value.

    Args:
        log: the file's path.
        word: what is noted.
        value: what is returned.
        needs: results that are taken and not used.
    """
    note(log, word)
    return value


@workflow
def read_and_count(path: str) -> int:
    """Return how often it was called before, with this file.

    Args:
        path: of the file that counts.
    """
    count = len(noted_words(path))
    note(path, "called")
    return count


@workflow
def fails(text: str, *needs: Any) -> Any:  # noqa: ARG001
    """Raise a ValueError.

    Args:
        text: its message.
        needs: results that are taken and not used.
    """
    raise ValueError(text)


@workflow
def fails_until(log: str, attempt: int, error: type[Exception] = ConnectionError) -> int:
    """Fail until an attempt, and return its number.

    Args:
        log: the path of a file that counts the attempts.
        attempt: the first attempt that does not fail.
        error: what the others raise.
    """
    note(log, "attempt")
    made = len(noted_words(log))
    if made < attempt:
        raise error(f"attempt {made}")
    return made


class TwoArguments(Exception):  # noqa: N818
    """Its constructor takes something else than what it keeps as its arguments."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code} {text}")
        self.code = code


class NoText(Exception):  # noqa: N818
    """Cannot be shown."""

    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


class WithSlot(Exception):  # noqa: N818
    """Keeps its code in a slot."""

    __slots__ = ("code",)

    def __init__(self, code: int) -> None:
        self.code = code


class Stopped(BaseException):
    """No Exception, as those of pytest and trio."""

    def __init__(self, scope: str, reason: str) -> None:
        super().__init__(f"{scope}: {reason}")


BASE_EXCEPTIONS: dict[str, type[BaseException]] = {
    "cancelled": asyncio.CancelledError,
    "generator_exit": GeneratorExit,
    "own": Stopped,
}


def exception_of(kind: str) -> Any:
    """Return an exception: with two arguments, without text, with slots, a group of one, of the system or an import."""
    made = {
        "two_arguments": TwoArguments(503, "busy"),
        "no_text": NoText(1),
        "group": ExceptionGroup("some", [TwoArguments(503, "busy")]),
        "os": FileNotFoundError(2, "no such file"),
        "slots": WithSlot(503),
        "import": ImportError("no such module", name="absent"),
    }
    return made[kind]


@workflow
def raises(kind: str) -> None:
    """Raise what `exception_of` returns, with a note and a cause."""
    error = exception_of(kind)
    error.add_note("a note")
    raise error from KeyError("cause")


@workflow
def raises_base(kind: str) -> None:
    """Raise an exception that is no Exception."""
    error = BASE_EXCEPTIONS[kind]
    raise error(*["scope", "reason"][: 2 * (kind == "own")])


@workflow
def drains(log: str, values: Any, key: Any) -> list[int]:
    """Take items out of its arguments, and fail halfway in the first two attempts.

    Args:
        log: the path of a file that counts the attempts.
        values: numbers.
        key: a list of numbers, which is within a list.
    """
    note(log, "attempt")
    done = []
    while values:
        done.append(values.pop(0))
        if len(done) == 2 and len(noted_words(log)) < 3:
            key[0][:] = key[0][:0]
            raise ConnectionError("halfway")
    return [*done, key[0][0]]


@workflow
def waits_again_and_again(caught: type[BaseException]) -> str:
    """Wait for an event that is never set, and catch what ends the waiting, ten times."""
    for _ in range(10):
        with suppress(caught):
            threading.Event().wait(20)
    return "waited to the end"


@workflow
def waits(seconds: float) -> str:
    """Wait for some seconds, for an event that is never set."""
    threading.Event().wait(seconds)
    return "waited to the end"


@workflow
def running_at_once(folder: str, name: str) -> int:
    """Return how many calls of this function run now, this one included.

    Args:
        folder: where the calls note that they run; it exists.
        name: of this call.
    """
    mark = Path(folder) / name
    mark.touch()
    time.sleep(0.1)
    running = len(list(Path(folder).iterdir()))
    mark.unlink()
    return running


@workflow
def variable(name: str) -> str | None:
    """Return an environment variable, as the call sees it."""
    return os.environ.get(name)


@workflow
def surroundings(variable: str) -> tuple[str, str | None, list[str]]:
    """Return the working directory, the value of an environment variable, and where modules are searched.

    Args:
        variable: the name of the variable.
    """
    return os.getcwd(), os.environ.get(variable), list(sys.path)  # noqa: PTH109


@workflow
def takes_lock(lock: Any) -> str:
    """Return the name of the argument's type."""
    return type(lock).__name__


@workflow
def makes_lock() -> Any:
    """Return an object that cannot leave its process."""
    return threading.Lock()


ITERATORS: dict[str, Callable[[list[int]], Any]] = {
    "map": lambda values: map(int, values),
    "generator": lambda values: (value for value in values),
    "itertools": itertools.cycle,
    "csv": lambda values: csv.reader(map(str, values)),
    "file": lambda values: io.StringIO(str(values)),
    "in_list": lambda values: [0, zip(values, values, strict=True)],
    "in_dict": lambda values: {"key": enumerate(values)},
}


@workflow
def iterates(kind: str, values: list[int]) -> Any:
    """Return an iterator, or a container of one.

    Args:
        kind: a key of `ITERATORS`.
        values: what it goes through.
    """
    return ITERATORS[kind](values)


@workflow
class Countdown:
    """A stateful object that is an iterator."""

    def __init__(self, start: int) -> None:
        self.left = start

    def __iter__(self) -> Any:
        return self

    def __next__(self) -> int:
        if not self.left:
            raise StopIteration
        self.left -= 1
        return self.left + 1

    def take(self) -> int:
        """Return the next number."""
        return next(self)


# Dynamic graphs


@workflow
def fibonacci(n: int) -> Any:
    """Return a number, or the node that makes it."""
    return n if n < 2 else add(fibonacci(n - 1), fibonacci(n - 2))


@workflow
def descend(n: int) -> Any:
    """Call itself in a node, n times, and return how deep it came."""
    return add_one(descend(n - 1)) if n else 0


@workflow
def add_one(n: int) -> int:
    """Return the next number."""
    return n + 1


@workflow
def halve_until_odd(n: int) -> Any:
    """Loop by returning the node of the next iteration."""
    return n if n % 2 else halve_until_odd(n // 2)


# Stateful objects


@workflow
class IncrementalSum:
    """The stateful object of the specification."""

    def __init__(self, start: Any) -> None:
        self.start = start

    def add(self, n: Any) -> Any:
        """Add, and return the sum so far."""
        self.start += n
        return self.start


class Base:
    """Plain, and known to the conformance suite through its decorated subclass only."""

    step = 1

    def count(self) -> int:
        """Return how often it was called."""
        self.calls = getattr(self, "calls", 0) + self.step
        return self.calls


@workflow
class Heir(Base):
    """Has no constructor of its own, and inherits its method."""

    step = 10

    @staticmethod
    def double(n: int) -> int:
        """Return twice the argument, without the object."""
        return 2 * n

    @classmethod
    def step_size(cls) -> int:
        """Return an attribute of the class."""
        return cls.step

    def fail(self) -> None:
        """Change the object halfway, and raise."""
        self.calls = 1000
        raise ValueError("halfway")

    def later(self, n: int) -> Any:
        """Return a node."""
        self.calls = n
        return add(n, n)


@workflow
class Tally(Base):
    """Uses its own class by its name."""

    LIMIT = 5

    def __init__(self, calls: int = 0) -> None:
        super(Tally, self).__init__()  # noqa: UP008  as one may write it
        self.calls = calls

    @staticmethod
    def double(n: int) -> int:
        """Return twice the argument."""
        return 2 * n

    @classmethod
    def full(cls) -> Tally:
        """Return an object at its limit."""
        return cls(cls.LIMIT)

    def known(self) -> list[Any]:
        """Return what the class gives by its name."""
        match self:
            case Tally(calls=calls):
                return [calls, Tally.LIMIT, Tally.double(calls), issubclass(type(self), Tally), type(self) is Tally]
        return []

    def left(self) -> int:
        """Return how far another object is ahead."""
        return Tally.full().calls - type(self)(self.calls).calls

    def another(self) -> Any:
        """Return another object, whose constructor takes a node."""
        return Tally(add(self.calls, 1))


@workflow
class Shapes:
    """Has methods that `functools` makes."""

    @singledispatchmethod
    def name(self, value: object) -> str:
        """Return what a value is."""
        return f"object {value}"

    @name.register
    def _(self, value: int) -> str:
        return f"number {value}"

    def add(self, a: int, b: int) -> int:
        """Return a sum.

        Args:
            a: one number.
            b: the other.
        """
        return a + b

    add_one = partialmethod(add, 1)


@workflow
class NotedSum:
    """Notes every call."""

    def __init__(self, log: str, start: Any) -> None:
        note(log, "start")
        self.log = log
        self.sum = start

    def add(self, word: str, n: Any) -> Any:
        """Note a word, add, and return the sum so far.

        Args:
            word: what is noted.
            n: what is added.
        """
        note(self.log, word)
        self.sum += n
        return self.sum

    def add_up_to(self, limit: int, n: Any) -> Any:
        """Add, but raise ValueError when the sum is above a limit.

        Args:
            limit: the largest sum.
            n: what is added.
        """
        self.sum += n
        if self.sum > limit:
            raise ValueError(f"more than {limit}")
        return self.sum


@workflow
class Unkept:
    """Holds a lock, and so cannot be pickled."""

    def __init__(self, log: str) -> None:
        self.log = log
        self.lock = threading.Lock()
        self.sum = 0

    def add(self, word: str, n: Any) -> Any:
        """Note a word, add, and return the sum so far.

        Args:
            word: what is noted.
            n: what is added.
        """
        note(self.log, word)
        self.sum += n
        return self.sum


@workflow
class Histogram:
    """Counts in an array of its own."""

    def __init__(self, zeros: Any) -> None:
        self.counts = zeros.copy()

    def count(self, n: int) -> int:
        """Count one more at an index, and return the count there."""
        self.counts[n] += 1
        return int(self.counts[n])


@workflow
def sum_of(accumulator: Any) -> Any:
    """Return an attribute of a stateful object, between two of its calls."""
    return accumulator.sum


@workflow
def start_of(accumulator: Any) -> Any:
    """Return an attribute of a stateful object, between two of its calls."""
    return accumulator.start


@workflow
def object_after_calls() -> Any:
    """Return an object of which methods were called."""
    made = IncrementalSum(0)
    made.add(1)
    made.add(2)
    return made


# Randomness

_numbers = threading.local()  # threads have a generator each, like processes


def seed_here(seed: int) -> None:
    """Seed the generator of this thread."""
    _numbers.generator = random.Random(seed)  # noqa: S311


@workflow
def draw(*needs: Any) -> float:  # noqa: ARG001
    """Return the next number of this thread's generator."""
    number: float = _numbers.generator.random()
    return number


# Memory


class Heavy:
    """Counts its living instances in this process."""

    alive: ClassVar[WeakSet[Heavy]] = WeakSet()

    def __init__(self) -> None:
        self.alive.add(self)


@workflow
def heavy(count: int, previous: Any = None) -> Any:  # noqa: ARG001
    """Return something heavy, and how many such were alive at any time.

    Args:
        count: the most that were alive before.
        previous: what the call before returned.
    """
    return Heavy(), max(count, len(Heavy.alive))


class WriterFunctions:
    """A third party's store, written from one paragraph of the specification."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get_writer_funcs(self, workflow_name: str) -> tuple[Any, Any, Any]:
        """Return a function that creates the workflow, an object that reads, and a function that saves."""
        folder = self.folder / workflow_name

        def save(task_name: str, result: object) -> None:
            (folder / task_name).write_bytes(pickle.dumps(result))

        return partial(folder.mkdir, parents=True, exist_ok=True), Reader(folder), save


class PlainResults:
    """A third party's store, with as few methods as a backend of the original called."""

    always_read = True

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def new_workflow(self, workflow_name: str) -> None:
        """Make a folder for the results of a workflow."""
        (self.folder / workflow_name).mkdir(parents=True, exist_ok=True)

    def save(self, workflow_name: str, filename: str, obj: object) -> None:
        """Store a result.

        Args:
            workflow_name: of the workflow.
            filename: the name of the result.
            obj: the result.
        """
        (self.folder / workflow_name / filename).write_bytes(pickle.dumps(obj))

    def read_task(self, workflow_name: str, task_name: str) -> Any:
        """Return a result; FileNotFoundError when there is none.

        Args:
            workflow_name: of the workflow.
            task_name: the name of the result.
        """
        return pickle.loads((self.folder / workflow_name / task_name).read_bytes())


class Reader:
    """Reads what `WriterFunctions` saved."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def read_task(self, task_name: str) -> Any:
        """Return a result; FileNotFoundError when there is none."""
        return pickle.loads((self.folder / task_name).read_bytes())


@workflow
def prints(name: str) -> None:
    """Print, log and warn."""
    print("out", name)
    print("err", name, file=sys.stderr)
    logging.getLogger("functionfuse.test").warning("log %s", name)
    with warnings.catch_warnings():  # whatever filters there are
        warnings.simplefilter("always")
        warnings.warn(f"warn {name}", stacklevel=1)


@workflow
def prints_much(count: int) -> None:
    """Print some bytes and more, in lines."""
    written = number = 0
    while written < count:
        line = f"line {number}\n"
        sys.stdout.write(line)
        written, number = written + len(line), number + 1
    print("last line")


@workflow
def uses_memory(count: int) -> int:
    """Fill some bytes of memory, and return how many."""
    return len(bytearray(count).replace(b"\0", b"1"))


@workflow
def draws_and_fails(text: str, api_token: str = "") -> None:  # noqa: ARG001
    """Draw a number, print it, and raise an error with it.

    Args:
        text: of the error.
        api_token: a secret.
    """
    generator = getattr(_numbers, "generator", None)
    number = 0.0 if generator is None else generator.random()
    print("drawn", number)
    raise ValueError(text[:100], number)


class Unshowable:
    """Has no representation."""

    def __repr__(self) -> str:
        return str(1 // 0)


@workflow
def unshowable() -> Unshowable:
    """Return an object without a representation."""
    return Unshowable()


@workflow
def same_later() -> Any:
    """Return a node that fails."""
    return fails("no").set_name("bad")


@workflow
def notes_around(log: str, seconds: float, *needs: Any) -> int:  # noqa: ARG001
    """Note that it has begun, wait, note that it has ended, and return 2.

    Args:
        log: the file's path.
        seconds: to wait.
        needs: results that it takes.
    """
    note(log, "begun")
    time.sleep(seconds)
    note(log, "ended")
    return 2


@workflow
def notes_around_a_wait(log: str, word: str, *needs: Any) -> int:  # noqa: ARG001
    """Note that it has begun, wait until somebody notes a word, note that it has ended, and return 2.

    Args:
        log: the file's path.
        word: to wait for.
        needs: results that it takes.
    """
    note(log, "begun")
    wait_until(lambda: word in noted_words(log))
    note(log, "ended")
    return 2


def content_at(path: Any) -> str:
    """Return the text of a file; for a folder, the names and texts in it."""
    place = Path(path)
    if not place.is_dir():
        return place.read_text()
    parts = sorted(part for part in place.rglob("*") if part.is_file())
    return ",".join(f"{part.relative_to(place).as_posix()}={part.read_text()}" for part in parts)


@workflow
def reads(log: str, file: Any) -> str:
    """Return what is in a file or folder.

    Args:
        log: the path of the log.
        file: its path.
    """
    note(log, "read")
    return content_at(file)


@workflow
def reads_all(log: str, value: Any) -> list[str]:
    """Return what is in the files that a value holds.

    Args:
        log: the path of the log.
        value: a list, a dict with one of them deep within, or an object that has one as `data`.
    """
    note(log, "read")
    files = [value["a"][1]["b"]] if isinstance(value, dict) else value if isinstance(value, list) else [value.data]
    return [content_at(file) for file in files]


@workflow
def appends(file: Any) -> str:
    """Change a file, and return what is in it then."""
    with Path(file).open("a") as writer:
        writer.write("+")
    return content_at(file)


@workflow
def returns_reader(log: str, file: Any) -> Any:
    """Return a node that reads a file.

    Args:
        log: the path of the log.
        file: its path.
    """
    return reads(log, File(file)).set_name("reader")


@workflow
def returns_file(log: str, path: str, text: str) -> Any:
    """Write a text, if there is one, and return the file within containers.

    Args:
        log: the path of the log.
        path: of the file.
        text: what is written.
    """
    note(log, "write")
    if text:
        Path(path).write_text(text)
    return {"deep": [File(path)]}


@workflow
def returns_file_later(log: str, path: str, text: str) -> Any:
    """Return a node that writes a text, and the file with it.

    Args:
        log: the path of the log.
        path: of the file.
        text: what is written.
    """
    return returns_file(log, path, text).set_name("writer")["deep"]


@workflow
def returns_shipped(path: str) -> Any:
    """Write a folder, and return it with its content."""
    Path(path).mkdir(parents=True, exist_ok=True)
    (Path(path) / "part.txt").write_text("shipped")
    return File(path, ship=True)


@workflow
def clock() -> float:
    """Return the time, in seconds since the epoch."""
    return time.time()


@workflow
def two_clocks() -> Any:
    """Return two nodes that return the time."""
    return [clock(), clock()]
