"""A Prefect server in a process of its own, and what it knows."""

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
from contextlib import contextmanager
from pathlib import Path

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
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def ask(self, path, query=None, method=None):
        """Get what the API knows; with a query, post that."""
        request = urllib.request.Request(f"{self.api_url}/{path}", method=method)
        if query is not None:
            request.data = json.dumps(query).encode()
            request.add_header("content-type", "application/json")
        for attempt in range(10):
            try:
                with urllib.request.urlopen(request, timeout=30) as answer:
                    text = answer.read()
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
            await_that(condition)
            run = self.flow_run(flow_name)
            self.ask(f"flow_runs/{run['id']}/set_state", {"state": {"type": "CANCELLING"}, "force": False})

        canceller = threading.Thread(target=cancel)
        canceller.start()
        try:
            yield
        finally:
            canceller.join()

    def task_runs(self, flow_name, is_complete):
        """The task runs of a flow's last run by name, as soon as they are as wanted: they arrive with a delay."""
        for _ in range(240):
            run = self.flow_run(flow_name)
            query = {"flow_runs": {"id": {"any_": [run["id"]]}}, "limit": 200}
            runs = {task_run["name"]: task_run for task_run in self.ask("task_runs/filter", query)} if run else {}
            if is_complete(runs):
                break
            time.sleep(0.25)
        return runs

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


def await_that(condition, seconds=60):
    """Wait until something holds."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it does not come to hold"
        time.sleep(0.05)


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
        wait_until_answered(server)
        yield server
    finally:
        server.stop()


def wait_until_answered(server):
    for _ in range(480):
        try:
            server.ask("health")
        except OSError:
            assert server.process.poll() is None, (server.home / "server.log").read_text()
            time.sleep(0.25)
        else:
            return
    raise TimeoutError((server.home / "server.log").read_text())
