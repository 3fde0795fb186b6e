"""Records of runs that are too large, or too odd, to be made by a run."""

from __future__ import annotations

import heapq
import random
import struct
import zlib

from functionfuse.previews import Preview
from functionfuse.runs import RunRecord, RunStep

STARTED = 1_795_858_260.0
HOSTILE = [
    "</script><script>document.title='owned'</script>",
    "<img src=x onerror=\"document.title='owned'\">",
    "\"quotes\" 'single' `back` &amp; ${x} {{y}}",
    "\u202eevil\u202c name \u2066mixed\u2069",
    "שלום עולם مرحبا بالعالم",
    "模型训练 🧪 données naïves",
    "x" * 1000,
    "line\nbreak\ttab\0nul \u2028 separator",
    "]]>--><!-- <style>*{display:none}</style>",
    "javascript:alert(1)",
    "lone \ud800 surrogate",
    "\x1b[31mred\x1b[0m",
]
SECONDS = {"load": 3.0, "clean": 1.5, "fit": 4.0, "score": 0.6, "rank": 0.5, "collect": 0.4, "plot": 1.2}
MEBIBYTES = {"load": 900, "clean": 700, "fit": 350, "score": 180, "rank": 60, "collect": 40, "plot": 120}
ERROR = (
    "node {name!r} failed: ValueError: input X contains NaN\n"
    "  called as fit(Ridge(alpha=0.2), <array (1078, 64) float64>)\n"
    "  at models.py:41 in fit\n"
    "Traceback (most recent call last):\n"
    '  File "models.py", line 41, in fit\n'
    "    return make_pipeline(StandardScaler(), clone(classifier)).fit(data, target)\n"
    "ValueError: input X contains NaN"
)


def heat_map(width: int, height: int, scale: int = 20) -> bytes:
    """A PNG file with a square for each number of an array."""
    draw = random.Random(1)
    lines = b""
    for _ in range(height):
        shares = [draw.random() ** 1.5 for _ in range(width)]
        line = b"".join(
            bytes(round(a + (b - a) * v) for a, b in ((38, 250), (24, 210), (74, 70))) * scale for v in shares
        )
        lines += (b"\0" + line) * scale
    header = struct.pack(">IIBBBBB", width * scale, height * scale, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


PREVIEWS = {
    "collect": Preview(
        "pandas.DataFrame",
        (3, 3),
        "          digits   wine  cancer\nridge      0.962  0.981   0.954\nsvm        0.984  0.972   0.961\n"
        "forest     0.971  0.967   0.958",
    ),
    "plot": Preview("numpy.ndarray", (10, 16), "float64, from 0.0213 to 0.997, mean 0.412", heat_map(16, 10)),
}


def steps_of(count: int) -> list[tuple[str, str, list[int]]]:
    """The name, function and needs of about `count` steps of a comparison of models on data sets."""
    sets = 3 if count < 1000 else 10
    models = max(2, (count - 3 * sets - 2) // (2 * sets))
    steps: list[tuple[str, str, list[int]]] = []

    def add(name: str, function: str, needs: list[int]) -> int:
        steps.append((name, function, needs))
        return len(steps) - 1

    rankings = []
    for s in range(sets):
        clean = add(f"set{s}/clean", "clean", [add(f"set{s}/load", "load", [])])
        scores = []
        for m in range(models):
            fit = add(f"set{s}/model{m:03}-fit", "fit", [clean])
            scores.append(add(f"set{s}/model{m:03}-score", "score", [fit, clean]))
        rankings.append(add(f"set{s}/ranking", "rank", scores))
    add("figure", "plot", [add("comparison", "collect", rankings)])
    return steps


def made_record(
    count: int, *, fails: bool = True, hostile: bool = False, workers: int = 8, id: str = "20261128-b"
) -> RunRecord:
    """The record of a run of about `count` steps, a third of them reused."""
    draw = random.Random(1)
    planned = steps_of(count)
    names = [name for name, _, _ in planned]
    if hostile:
        for n, name in enumerate(HOSTILE):
            names[n * 3 % len(names)] = name
    failing = {n for n, (_, function, _) in enumerate(planned) if function == "fit"}
    failing = set(draw.sample(sorted(failing), max(1, len(failing) // 800))) if fails else set()
    free = [(2.5, worker) for worker in range(workers)]
    ends = [0.0] * len(planned)
    states: list[str] = []
    steps = {}
    for n, (_, function, needs) in enumerate(planned):
        took = SECONDS[function] * draw.lognormvariate(0, 0.5)
        memory = int(MEBIBYTES[function] * draw.lognormvariate(0, 0.2)) << 20
        facts = {
            "name": names[n],
            "function": function,
            "needs": tuple(names[k] for k in needs),
            "recipe": f"r{n}{function}",
        }
        if n in failing:
            state = "failed"
        elif function == "score" and states[needs[0]] == "failed":
            state = "skipped"
        elif function in ("load", "clean") or (function in ("fit", "score") and (n // 2) % 3 == 0):
            state = "reused"
        else:
            state = "finished"
        states.append(state)
        facts |= {"state": state, "action": "reuse" if state == "reused" else "run"}
        facts["reason"] = {
            "reused": "stored, with the same recipe",
            "skipped": f"its step {names[needs[0]]!r} failed" if needs else "",
        }.get(
            state,
            "argument alpha: 0.1 -> 0.2"
            if function == "fit"
            else f"input {names[needs[0]] if needs else ''!r} changed",
        )
        if state in ("finished", "failed"):
            begins, worker = heapq.heappop(free)
            begins = max([begins, *(ends[k] for k in needs)])
            ends[n] = begins + took
            heapq.heappush(free, (ends[n], worker))
            facts |= {"started": STARTED + begins, "seconds": took, "cpu": took * 0.9, "memory": memory}
            facts |= {"host": "node-07", "process": 4000 + worker}
        if state in ("finished", "reused"):
            facts |= {"size": int(memory / 100), "content": f"c{n}"}
        facts["preview"] = None if hostile else PREVIEWS.get(function)
        if function == "fit":
            facts["arguments"] = {"alpha": "0.2"}
        if state == "failed":
            facts |= {"error": ERROR.format(name=names[n]), "output": "\x1b[33m12 rows\x1b[0m with missing values\r\n"}
        if hostile:
            facts["output"] = HOSTILE[n % len(HOSTILE)]
            facts["preview"] = Preview(HOSTILE[0], (), "\n".join(HOSTILE), b"<svg onload=alert(1)>")
            facts["arguments"] = {HOSTILE[n % len(HOSTILE)]: HOSTILE[-n % len(HOSTILE)]}
        steps[names[n]] = RunStep(**facts)
    counts = {state: states.count(state) for state in ("finished", "reused", "failed", "skipped")}
    return RunRecord(
        id=id,
        workflow=HOSTILE[0] if hostile else "comparison",
        state="failed" if failing else "finished",
        started=STARTED,
        ended=STARTED + max(ends) + 0.2,
        engine="local, 8 processes",
        labels={HOSTILE[3]: HOSTILE[1]} if hostile else {"purpose": "nightly"},
        counts={**counts, "steps": len(planned)},
        wanted=(names[-2], names[-1]),
        options={"on_error": "continue", "reuse": "recipe"},
        environment={
            "host": HOSTILE[1] if hostile else "node-07",
            "user": "ada",
            "python": "3.11.7",
            "program": "comparison.py",
            "packages": {"functionfuse": "0.1.0", "numpy": "2.1.0", "scikit-learn": "1.9.1"},
            "git": {"commit": "9f3ab12", "dirty": True},
        },
        steps=steps,
    )
