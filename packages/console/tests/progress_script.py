"""A script whose runs the tests of the progress watch on a terminal: the first argument says how it runs.

Nodes wait until the file that is the second argument is there.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from functionfuse import workflow
from functionfuse.backends.builtin.localback import LocalWorkflow
from functionfuse.errors import WorkflowFailed

HOW, GATE = sys.argv[1], Path(sys.argv[2])


@workflow
def fit(number: int) -> int:
    if number == 1:
        print("fold 1 converged")
        os.write(1, b"from a library in C\n")
        raise ValueError("Input X contains NaN")
    while number > 1 and not GATE.exists():
        time.sleep(0.01)
    return number


def run(name: str) -> None:
    nodes = [fit(number).set_name(f"model{number}") for number in range(4)]
    workers = ThreadPoolExecutor(2) if HOW != "serial" else None
    try:
        LocalWorkflow(*nodes, workflow_name=name, executor=workers).run(on_error="continue")
    except WorkflowFailed:
        print(f"{name} is over")
    except KeyboardInterrupt:
        print("interrupted")


if HOW == "two":
    threads = [threading.Thread(target=run, args=(name,)) for name in ("first", "second")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
else:
    run("comparison")
