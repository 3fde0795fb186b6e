"""Other drivers, of the cluster of a test or with clusters of their own, which do what they are told."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress
from pathlib import Path

from ray_addresses import PATH
from rayworkflow_tasks import pids_of

from functionfuse.testing import wait_until

PROGRAM = """
import json, os, sys
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # Ray prints too
import ray
from rayworkflow_tasks import *
from functionfuse.backends.addons import rayworkflow as workflow
from functionfuse.backends.addons.rayworkflow import http_event_provider
from functionfuse.storage import FileStore

given = json.loads(sys.argv[1])
ray.init(**given["ray"])
if given["storage"]:
    workflow.init(storage=FileStore(given["storage"], durable=False), **given["limits"])
note(given["log"], "ready")
for line in sys.stdin:
    try:
        said = {"value": eval(line)}
        json.dumps(said)
    except Exception as error:
        said = {"error": type(error).__name__, "message": str(error)}
    print(json.dumps(said), file=answers, flush=True)
"""


class Driver:
    """A driver that evaluates expressions.

    Args:
        log: a file for what it says besides, and whether it is ready.
        address: of a cluster; by default it starts its own one.
        storage: the folder of the store of that one's workflows.
        env: variables of it and, if the cluster is its own, of the workers.
        limits: of its workflows.
    """

    def __init__(self, log, *, address="", storage="", env=None, **limits):
        own = {"address": "local", "num_cpus": 2, "include_dashboard": False, "_node_ip_address": "127.0.0.1"}
        where = {"address": address} if address else own
        settings = {"ray": {**where, "log_to_driver": False}, "log": f"{log}.ready"}
        settings |= {"storage": str(storage), "limits": limits}
        variables = {**os.environ, "PYTHONPATH": PATH, **(env or {})}
        self._log = Path(log)
        with self._log.open("w") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-c", PROGRAM, json.dumps(settings)], env=variables,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True,
            )  # fmt: skip

    def await_ready(self):
        wait_until(lambda: Path(f"{self._log}.ready").exists() or self.process.poll() is not None, 120)
        assert self.process.poll() is None, self._log.read_text()

    def send(self, expression):
        """Let it evaluate an expression."""
        print(expression, file=self.process.stdin, flush=True)

    def answer(self):
        """What came of the expression that it was told first: its value, or the name of its error and what it says."""
        said = json.loads(self.process.stdout.readline())
        return said["value"] if "value" in said else (said["error"], said["message"])

    def ask(self, expression):
        self.send(expression)
        return self.answer()

    def kill(self):
        """Kill it with all that it started."""
        for pid in [*pids_of(b"", self.process.pid), self.process.pid]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.communicate()


@contextmanager
def driver(log, **options):
    """A driver, which is killed in the end."""
    one = Driver(log, **options)
    try:
        one.await_ready()
        yield one
    finally:
        one.kill()
