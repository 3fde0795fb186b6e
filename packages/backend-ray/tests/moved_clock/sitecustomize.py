"""Moves the clock of every Python process that finds this first, by as many seconds as a file says."""

import os
import time

_now = time.time
_place = os.environ.get("FUNCTIONFUSE_TESTS_CLOCK", "")


def _moved():
    try:
        with open(_place, encoding="ascii") as file:  # noqa: PTH123
            return _now() + float(file.read())
    except (OSError, ValueError):
        return _now()


if _place:
    time.time = _moved
