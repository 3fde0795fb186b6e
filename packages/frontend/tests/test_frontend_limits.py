"""Time limits of functions that catch what ends them, in the main thread."""

from __future__ import annotations

import signal
import sys
import time
from contextlib import suppress

import pytest

from functionfuse.backends.limits import TimeLimitExceeded, limited

pytestmark = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no alarms")


def passes():
    while True:
        try:
            time.sleep(30)
        except BaseException as error:
            str(error)


def continues():
    while True:
        try:
            time.sleep(30)
        except:  # noqa: E722
            continue


def suppresses():
    while True:
        with suppress(BaseException):
            time.sleep(30)


def calls_another():
    def poll():
        try:
            time.sleep(30)
        except BaseException:
            return False

    while not poll():
        pass


def computes():
    while True:
        with suppress(BaseException):
            while True:
                pass


def returns():
    with suppress(BaseException):
        time.sleep(30)
    return "late"


@pytest.mark.parametrize("function", [passes, continues, suppresses, calls_another, computes, returns])
def test_what_catches_everything(function):
    tracing = sys.gettrace()
    with pytest.raises(TimeLimitExceeded, match=r"took longer than 0.05 s"):
        limited(function, 0.05)
    assert sys.gettrace() is tracing
    assert sys.exc_info() == (None, None, None)
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0


def test_what_it_raises_instead_is_the_cause():
    def wraps():
        try:
            time.sleep(30)
        except BaseException as error:
            raise ValueError("the server") from error

    with pytest.raises(TimeLimitExceeded) as caught:
        limited(wraps, 0.05)
    assert caught.value.__cause__.args == ("the server",)


def test_the_end_of_an_iteration_is_raised_as_it_is():
    with pytest.raises(StopIteration):
        limited(lambda: next(iter([])), 30)


def test_the_traceback_shows_where_it_was():
    with pytest.raises(TimeLimitExceeded) as caught:
        limited(lambda: time.sleep(30), 0.05)
    assert "<lambda>" in [entry.name for entry in caught.traceback]


def test_cleaning_up_is_not_interrupted():
    done = []

    def cleans():
        try:
            time.sleep(30)
        finally:
            time.sleep(0.1)
            done.append("cleaned")

    with pytest.raises(TimeLimitExceeded):
        limited(cleans, 0.05)
    assert done == ["cleaned"]
