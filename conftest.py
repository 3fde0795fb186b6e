"""What holds for the tests of all packages.

- Tiers: ``--tier first`` leaves out tests marked ``slow``, standard ones marked ``@thorough``, and of variants
  (``tier = "core"``) the standard tests that are not part of the core; ``--tier rest`` runs these. Of further variants
  (``tier = "extra"``) the core is in the second tier, and the rest in the third, ``--tier variants``.
- Tests marked ``chaos``: how long they try, and how what they tried is repeated.
- Ctrl-C: tests press it, also where the session was started in the background, which Ctrl-C does not reach.
- Unclosed resources: one that an engine opened (Ray's start-up leaves a socket at times) fails no test; any other does.
"""

from __future__ import annotations

import itertools
import random
import re
import signal
import sys
import sysconfig
import time
import traceback
from contextlib import suppress
from functools import cache, partial
from types import SimpleNamespace

import pytest

ENGINES = ("distributed", "prefect", "ray")
STDLIB = sysconfig.get_path("stdlib")


class Effort:
    """How long a test marked ``chaos`` tries: a few rounds, or its share of ``--minutes``."""

    def __init__(self, seconds, seed):
        self.pick = random.Random(seed)
        self.is_long = seconds is not None
        self._seconds = seconds
        self._seed = seed

    def rounds(self, few):
        """Yield the number of each round."""
        start = time.monotonic()
        for number in itertools.count():
            if number >= few if self._seconds is None else time.monotonic() - start > self._seconds:
                print(f"{number} rounds of {self._seed}")
                return
            yield number

    def fuzz(self, check):
        """Run a check that is wrapped in ``hypothesis.given``."""
        import hypothesis

        check = hypothesis.settings(deadline=None, database=None, derandomize=False)(check)
        for _ in self.rounds(1):
            hypothesis.seed(self.pick.getrandbits(64))(check)()


with suppress(ImportError):  # in the environments that some tests make
    import hypothesis

    # The same examples in each session, however busy the machine is.
    slow = [hypothesis.HealthCheck.too_slow]
    hypothesis.settings.register_profile("here", deadline=None, derandomize=True, suppress_health_check=slow)
    hypothesis.settings.load_profile("here")


def pytest_addoption(parser):
    group = parser.getgroup("chaos")
    group.addoption("--minutes", type=float, help="for how long the tests marked chaos try, in all")
    parser.getgroup("tiers").addoption(
        "--tier",
        choices=["first", "rest", "variants", "all"],
        default="all",
        help="which tests to run; see CONTRIBUTING.md",
    )
    group.addoption("--seed", type=int, help="of what they try; by default another one whenever --minutes is given")


@pytest.hookimpl(trylast=True)  # the handler of pytest is installed before
def pytest_configure(config):
    if not _resources_of_engines:
        _resources_of_engines.add(None)  # audit hooks stay; one is enough
        sys.addaudithook(_note_creator)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell starts what runs in the background
        signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.unraisablehook = partial(_handle_unraisable, sys.unraisablehook)
    config.addinivalue_line(
        "markers",
        "chaos(weight=1): tries what comes; --minutes gives each such test its share, --seed repeats what it tried",
    )
    config.addinivalue_line("markers", "slow(reason): in the second tier only, for the reason given")
    if config.getoption("minutes", None) and config.getoption("seed", None) is None:
        config.option.seed = random.SystemRandom().randrange(10**6)


def pytest_collection_modifyitems(config, items):
    tier = config.getoption("tier")
    if tier != "all":
        chosen = [item for item in items if _tier_of(item) == tier]
        left = set(items) - set(chosen)
        config.hook.pytest_deselected(items=list(left))
        items[:] = chosen


def _tier_of(item):
    is_standard = item.function.__module__.startswith("functionfuse.testing.")
    kind = getattr(item.cls, "tier", "whole") if is_standard else "whole"
    is_core = kind == "whole" or getattr(item.function, "is_core", False)
    if kind == "extra":
        return "rest" if is_core else "variants"
    is_slow = item.get_closest_marker("slow") or getattr(item.function, "is_thorough", False)
    return "first" if is_core and not is_slow else "rest"


def pytest_report_header(config):
    minutes = config.getoption("minutes", None)
    return f"chaos: --minutes {minutes:g} --seed {config.getoption('seed')}" if minutes else None


@pytest.fixture
def effort(request):
    minutes = request.config.getoption("minutes", None)
    seed = request.config.getoption("seed", None) or 1
    share = _weight(request.node) / sum(map(_weight, request.session.items))
    return Effort(60 * minutes * share if minutes else None, f"seed {seed} of {request.node.name}")


def _weight(item):
    marker = item.get_closest_marker("chaos")
    return marker.kwargs.get("weight", 1) if marker else 0


_resources_of_engines = set()  # identities of sockets, names of files, commands of processes
_opened_at = {}  # by identities of sockets


def _note_creator(event, args):
    """Note whether an engine opens the socket or file, or starts the process, that an audit event announces."""
    if event == "socket.__new__":
        key = id(args[0])  # a later socket with this identity is noted anew
    elif event == "open":
        key = "file", str(args[0])
    elif event == "subprocess.Popen":
        key = "process", str(args[1])
    else:
        return
    if _is_opened_by_engine(sys._getframe(1)):
        _resources_of_engines.add(key)
    else:
        _resources_of_engines.discard(key)
    if event == "socket.__new__":
        frames = itertools.islice(traceback.walk_stack(sys._getframe(1)), 12)
        _opened_at[key] = [f"{frame.f_code.co_filename}:{line}" for frame, line in frames]


def _is_opened_by_engine(frame):
    """Return True if, from the innermost frame on, code of an engine comes before code of the project or of a test."""
    while frame is not None:
        creator = _creator(frame.f_code.co_filename)
        if creator is not None:
            return creator == "engine"
        frame = frame.f_back
    return False


@cache
def _creator(filename):
    """Return whether code is an engine's or the project's; None for what both call: the library, other packages."""
    package = re.search(r"[/\\](?:site|dist)-packages[/\\](\w+)", filename)
    if package is not None:
        return {**dict.fromkeys(ENGINES, "engine"), "functionfuse": "project"}.get(package[1])
    return None if filename.startswith((STDLIB, "<frozen ")) else "project"


def _handle_unraisable(handler, unraisable):
    if issubclass(unraisable.exc_type, ResourceWarning):
        keys = _keys(unraisable)
        if keys & _resources_of_engines:
            return
        opened = [place for key in keys for place in _opened_at.get(key, ())]
        if opened:
            message = f"Opened at {', '.join(opened)}; not closed: {unraisable.err_msg or ''}"
            names = ("exc_type", "exc_value", "exc_traceback", "object")
            unraisable = SimpleNamespace(err_msg=message, **{name: getattr(unraisable, name) for name in names})
    handler(unraisable)


def _keys(unraisable):
    """Return the keys of what was not closed: an object of C, or one with a ``__del__`` of Python and sockets."""
    unclosed = unraisable.object
    if getattr(unclosed, "__name__", None) == "__del__":  # else the traceback is of what ran when it was collected
        for frame, _ in traceback.walk_tb(unraisable.exc_traceback):
            if frame.f_code.co_name == "__del__":
                unclosed = frame.f_locals.get("self", unclosed)
    sockets = (unclosed, getattr(unclosed, "_sock", None), getattr(unclosed, "_ssock", None))  # transports, event loops
    named = {("file", str(getattr(unclosed, "name", None))), ("process", str(getattr(unclosed, "args", None)))}
    return {id(unclosed) for unclosed in sockets if unclosed is not None} | named
