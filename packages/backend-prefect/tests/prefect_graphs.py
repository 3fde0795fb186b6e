"""Workflow functions of the tests."""

from __future__ import annotations

from functionfuse import workflow


@workflow
def add(*values):
    return sum(values)


@workflow
class Sum:
    def __init__(self, start):
        self.value = start

    def add(self, n):
        self.value += n
        return self.value
