"""Nodes of the tests, in a module of the user's own."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import kfp_helper

from functionfuse import File, workflow


@workflow
def add(a, b=0):
    return a + b


@workflow
def doubled(x):
    return kfp_helper.double(x)


@workflow
def divided(a, b):
    return a / b


@workflow
def total(values):
    return sum(values)


@workflow
def waits(seconds):
    threading.Event().wait(seconds)


@workflow
def variable(name):
    return os.environ[name]


@workflow
def says(text):
    print(text)
    return text


@workflow
def process_of(*_):
    return os.getpid()


@workflow
class Counter:
    def __init__(self, start):
        self.count = start

    def up(self, by):
        self.count += by
        return self.count


@workflow
def count_of(counter):
    return counter.count


@workflow
def reads(file):
    return Path(file).read_text()


@workflow
def writes(path, *, ship):
    Path(path).write_text("made")
    return File(path, ship=ship)
