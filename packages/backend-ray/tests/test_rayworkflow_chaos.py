"""Kills at random moments: every result is right, and nothing that was stored runs again."""

from __future__ import annotations

import json
import time
from collections import Counter

import pytest
from ray_addresses import PATH
from rayworkflow_chaos import Case, Prey
from rayworkflow_tasks import note


@pytest.fixture
def prey(tmp_path, effort, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", PATH)
    prey = Prey(tmp_path, effort.pick)
    yield prey
    prey.stop()


@pytest.mark.slow(reason="controllers and workers that are killed at random moments")
@pytest.mark.chaos(weight=12)
def test_kills_at_random_moments(tmp_path, effort, prey):
    kills, workflows = Counter(), Counter()
    for number in effort.rounds(1):
        cases = [Case(tmp_path, shape, f"{shape}-{number}") for shape in Case.SHAPES]
        kills += a_round(prey, cases, effort.pick)
        workflows.update(case.shape for case in cases)
        print(json.dumps({"kills": kills, "in all": kills.total(), "workflows": workflows.total()}), flush=True)


def a_round(prey, cases, dice):
    """Run workflows that begin one by one while processes are killed; return how many of which kind were."""
    occasions = [*dice.choices(Prey.KINDS[:5], [4, 2, 6, 2, 1], k=13), dice.choice(["cluster", "worker", "worker"])]
    dice.shuffle(occasions)
    dice.shuffle(cases)
    waiting, driven, happening = list(cases), dice.choice(cases), dice.randrange(6, 14)
    kills, stored = Counter(), []
    for place, kind in enumerate(occasions):
        if place % 2 == 0 and waiting:
            begin(prey, waiting.pop(), driven)
        if place == happening:
            for case in cases:
                note(case.event)
        time.sleep(dice.uniform(0, 0.6))
        before = [(case, case.committed(), len(case.ran())) for case in cases]
        killed = prey.kill(kind)
        if killed:
            kills[killed] += 1
            stored += before
    assert {case.id: case.result() for case in cases} == {case.id: case.expected for case in cases}
    again = [(case.id, sorted(committed & set(case.ran()[count:]))) for case, committed, count in stored]
    assert [found for found in again if found[1]] == []
    for case in cases:
        assert case.committed() == set(case.ran())
    return kills


def begin(prey, case, driven):
    if case is driven:
        prey.drive(case)
    else:
        case.begin()
