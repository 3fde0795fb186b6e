"""A Prefect server in a process of its own, and queries of its API."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from contextlib import contextmanager, suppress
from pathlib import Path

from functionfuse.testing import wait_until

ADDRESS = "127.0.0.1"
PREFECT = str(Path(sys.executable).with_name("prefect"))


class Server:
    def __init__(self, port, home, database):
        self.port = port
        self.home = home
        self.url = f"http://{ADDRESS}:{port}"
        self.api_url = f"{self.url}/api"
        self.env = {
            **os.environ,
            "PREFECT_HOME": str(home),
            "PREFECT_API_URL": self.api_url,
            "PREFECT_SERVER_UI_API_URL": self.api_url,
            "PREFECT_API_DATABASE_CONNECTION_URL": database or f"sqlite+aiosqlite:///{home}/prefect.db",
            "PREFECT_SERVER_SERVICES_TRIGGERS_ENABLED": "false",
            "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_ENABLED": "false",
        }

    def stop(self):
        """End the server's process."""
        self.process.send_signal(signal.SIGINT if os.name == "posix" else signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def is_ready(self):
        """Return True once the server answers; fail with its log if its process has ended."""
        try:
            self.ask("health")
        except OSError:
            assert self.process.poll() is None, (self.home / "server.log").read_text()
            return False
        return True

    def ask(self, path, query=None, method=None):
        """Return what the API answers; a query is posted."""
        request = urllib.request.Request(f"{self.api_url}/{path}", method=method)
        if query is not None:
            request.data = json.dumps(query).encode()
            request.add_header("content-type", "application/json")
        for attempt in range(10):
            try:
                with urllib.request.urlopen(request, timeout=30) as response:
                    text = response.read()
                break
            except urllib.error.HTTPError as error:
                if error.code != 503 or attempt == 9:  # its database is locked for a moment
                    raise
                time.sleep(0.5)
        return json.loads(text) if text else None

    def flow_run(self, flow_name):
        """The last run of a flow."""
        query = {"sort": "START_TIME_DESC", "limit": 1, "flows": {"name": {"any_": [flow_name]}}}
        runs = self.ask("flow_runs/filter", query)
        return runs[0] if runs else None

    @contextmanager
    def cancelling(self, flow_name, condition):
        """Cancel the last run of a flow, as the dashboard does, as soon as something holds."""

        def cancel():
            wait_until(condition)
            run = self.flow_run(flow_name)
            self.ask(f"flow_runs/{run['id']}/set_state", {"state": {"type": "CANCELLING"}, "force": False})

        canceller = threading.Thread(target=cancel)
        canceller.start()
        try:
            yield
        finally:
            canceller.join()

    def task_runs(self, flow_name, is_complete):
        """The task runs of a flow's last run by name, given time to become as wanted: they arrive with a delay."""
        runs = {}

        def arrived():
            nonlocal runs
            runs = self.task_runs_now(flow_name)
            return is_complete(runs)

        with suppress(TimeoutError):  # the caller's assertion shows what is there instead
            wait_until(arrived, seconds=120, interval=0.25)
        return runs

    def task_runs_now(self, flow_name):
        """The task runs of a flow's last run by name, as far as the server knows them."""
        run = self.flow_run(flow_name)
        if run is None:
            return {}
        query = {"flow_runs": {"id": {"any_": [run["id"]]}}, "limit": 200}
        return {task_run["name"]: task_run for task_run in self.ask("task_runs/filter", query)}

    def final_state(self, run):
        """Name and message of the state in which a flow run ends."""

        def state():
            state = self.ask(f"flow_runs/{run['id']}")["state"]
            return state if state["type"] in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED") else None

        ended = wait_until(state, interval=0.25)
        return ended["name"], ended["message"]

    def states(self, flow_name, expected):
        """Name to state of the task runs, given time to become what is expected."""
        runs = self.task_runs(flow_name, lambda runs: states_of(runs) == expected)
        return states_of(runs)

    def parents(self, flow_name, names):
        """Name to names of parents, of the task runs of a flow's last run."""
        runs = self.task_runs(flow_name, lambda runs: set(runs) == set(names))
        names_of = {run["id"]: name for name, run in runs.items()}
        return {
            name: {names_of[parent["id"]] for parents in run["task_inputs"].values() for parent in parents}
            for name, run in runs.items()
        }


def states_of(task_runs):
    return {name: run["state_name"] for name, run in task_runs.items()}


def free_port():
    with socket.socket() as free:
        free.bind((ADDRESS, 0))
        return free.getsockname()[1]


def one_connection(folder):
    """A database in a folder that a server uses by one connection, as Prefect does where it reads ``:memory:``.

    Several connections lock each other out, for seconds; and what is in memory is lost with its one, for example when a
    client goes away in the midst of a request.
    """
    return f"sqlite+aiosqlite:///{folder}/one:memory:.db"


@contextmanager
def running_server(home, database=""):
    """A server with a database in its home, or elsewhere."""
    server = Server(free_port(), home, database)
    command = [PREFECT, "server", "start", "--host", ADDRESS, "--port", str(server.port)]
    with (home / "server.log").open("w") as log:
        server.process = subprocess.Popen(command, env=server.env, stdout=log, stderr=log)
    try:
        wait_until(server.is_ready, interval=0.25)
        yield server
    finally:
        server.stop()
