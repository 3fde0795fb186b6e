"""Tests marked ``chaos``, of all packages: how long they try, and how what they tried is repeated."""

from __future__ import annotations

import itertools
import random
import time

import pytest


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

        check = hypothesis.settings(deadline=None, database=None)(check)
        for _ in self.rounds(1):
            hypothesis.seed(self.pick.getrandbits(64))(check)()


def pytest_addoption(parser):
    group = parser.getgroup("chaos")
    group.addoption("--minutes", type=float, help="for how long the tests marked chaos try, in all")
    group.addoption("--seed", type=int, help="of what they try; by default another one whenever --minutes is given")


def pytest_configure(config):
    config.addinivalue_line(
        "markers",
        "chaos(weight=1): tries what comes; --minutes gives each such test its share, --seed repeats what it tried",
    )
    if config.getoption("minutes", None) and config.getoption("seed", None) is None:
        config.option.seed = random.SystemRandom().randrange(10**6)


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
