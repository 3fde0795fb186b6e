"""Random numbers in worker processes come from the worker's own generator, not from a copy sent along."""

from __future__ import annotations

import random
from random import random as draw

from functionfuse import workflow
from functionfuse.backends.builtin.localback import LocalWorkflow
from functionfuse.backends.plugins import RandomStatePlugin


def drawing(count):
    """Nodes of a function that travels by value, with the generator's method among its globals."""

    @workflow
    def throw(number):
        return draw()

    return [throw(number) for number in range(count)]


def test_a_generators_method_does_not_repeat_itself():
    values = LocalWorkflow(*drawing(4), workflow_name="draws").run(max_workers=1)
    assert len(set(values)) == 4


def test_seeding_reaches_the_workers_generator():
    seeded = LocalWorkflow(*drawing(4), workflow_name="draws")
    seeded.query().set_plugin(RandomStatePlugin(min=0, max=2**32 - 1, seed=7, seed_func=random.seed))
    state = random.getstate()
    serial = seeded.run()
    random.setstate(state)
    assert seeded.run(max_workers=2) == serial
