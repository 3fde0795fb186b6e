"""Functions that make nodes and return none of them: they warn, and nobody else does."""

from __future__ import annotations

import warnings
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest

from functionfuse import workflow
from functionfuse.backends.base import BaseWorkflow
from functionfuse.testing.functions import add, fibonacci, same


class InOrder(BaseWorkflow):
    def execute(self, run):
        for task in run.in_order():
            run.perform_here(task)


def run(node):
    return InOrder(node, workflow_name="w").run()


def helper():
    return add(1, 2)


@workflow
class Maker:
    def __init__(self, makes=False):
        if makes:
            add(1, 2)

    def method(self):
        helper()
        return 5


def drops():
    add(1, 2)
    return 5


def by_argument(function):
    function(1, 2)
    return 5


def of_its_own():
    @workflow
    def local():
        return 1

    local()
    return 5


DROPS = {
    "function": lambda: workflow(drops)(),
    "helper": lambda: workflow(lambda: (helper(), 5)[1])(),
    "argument": lambda: workflow(by_argument)(add),
    "local": lambda: workflow(of_its_own)(),
    "method": lambda: Maker().method(),
    "constructor": lambda: Maker(makes=True),
    "none": lambda: workflow(lambda: [add(1, 2)].clear())(),
}


@pytest.mark.parametrize("case", DROPS)
@pytest.mark.parametrize("threads", [False, True])
def test_it_warns(case, threads):
    node = DROPS[case]()
    with ThreadPoolExecutor(1) as pool, pytest.warns(UserWarning, match="made nodes and returned none of them"):
        pool.submit(run, node).result() if threads else run(node)


def test_the_warning_names_the_function():
    with pytest.warns(UserWarning, match="^drops made nodes") as caught:
        run(workflow(drops)())
    assert (caught[0].filename, caught[0].lineno) == (__file__, drops.__code__.co_firstlineno)


def nested():
    return run(add(1, 2))


def in_another_class():
    InOrder(add(1, 2), workflow_name="w").plan()
    return 3


SILENT = {
    "returned": (lambda: workflow(helper)(), 3),
    "returned_in_a_list": (lambda: workflow(lambda: [helper(), 1])(), [3, 1]),
    "not_called": (lambda: workflow(lambda n: helper() if n else 5)(0), 5),
    "run_in_it": (lambda: workflow(nested)(), 3),
    "planned_in_it": (lambda: workflow(in_another_class)(), 3),
    "plain": (lambda: workflow(lambda: add.__wrapped__(1, 2))(), 3),
    "recursion": (lambda: fibonacci(7), 13),
}


@pytest.mark.parametrize("case", SILENT)
def test_it_does_not_warn(case):
    make, value = SILENT[case]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert run(make()) == value


def test_nodes_that_another_thread_makes_warn_nobody():
    began, made = Event(), Event()

    def waits():
        began.set()
        assert made.wait(10)
        return 5

    with warnings.catch_warnings(), ThreadPoolExecutor(1) as pool:
        warnings.simplefilter("error")
        running = pool.submit(run, workflow(waits)())
        assert began.wait(10)
        same(1)
        made.set()
        assert running.result() == 5
