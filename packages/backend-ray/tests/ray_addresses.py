"""Where the tests' clusters are, where their workers find the test modules, and how they are started."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from contextlib import contextmanager, suppress
from pathlib import Path

import ray

from functionfuse.testing import wait_until

ADDRESS = "127.0.0.2"  # Ray takes 127.0.0.1 for the machine's address in the network
PATH = os.pathsep.join(filter(None, [str(Path(__file__).parent), os.environ.get("PYTHONPATH")]))
OF_HEADS = {
    "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",  # else a cluster with actors takes 30 s to end
    "GRPC_ENABLE_FORK_SUPPORT": "0",  # else the server of a client dies at its start now and then, which takes 30 s
}


def until_started(start):
    """Start a cluster, or a part of one; on a busy machine, its processes may not find each other in time."""
    for _ in range(3):
        try:
            return start()
        except Exception as error:
            if "timed out during startup" not in str(error):
                raise
            ray.shutdown()
    return start()


@contextmanager
def started_head(folder, environment=None):
    """Start a cluster in processes of its own, as one does by hand; give its address for clients.

    Args:
        folder: where its output is written.
        environment: of its processes; that of this process unless given.
    """
    environment = {**(environment or {**os.environ, "PYTHONPATH": PATH}), **OF_HEADS}
    with socket.socket() as free:
        free.bind((ADDRESS, 0))
        port = free.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "ray.scripts.scripts",
        "start",
        "--head",
        "--block",
        "--port=0",
        "--include-dashboard=false",
        f"--ray-client-server-port={port}",
        f"--node-ip-address={ADDRESS}",
        '--resources={"custom_resource": 1, "_disk": 1}',
    ]
    log = folder / "head.log"

    def accepts():
        assert head.poll() is None, log.read_text()
        with suppress(OSError), socket.create_connection((ADDRESS, port), timeout=1):
            return True
        return False

    with log.open("w") as output:
        head = subprocess.Popen(command, stdout=output, stderr=output, env=environment)
    try:
        wait_until(accepts)
        yield f"ray://{ADDRESS}:{port}"
    finally:
        head.terminate()
        try:
            head.wait(30)
        except subprocess.TimeoutExpired:
            head.kill()
            head.wait(30)
