"""Durable workflows from outside: HTTP events, and the command line."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import urllib.error
import urllib.request
import warnings

import pytest
import ray
from rayworkflow_tasks import add, failing, gather, held, note, wait_until_noted

from functionfuse.backends.addons import rayworkflow as workflow
from functionfuse.backends.addons.rayworkflow import http_event_provider
from functionfuse.backends.addons.rayworkflow.__main__ import main
from functionfuse.backends.addons.rayworkflow.http_event_provider import HTTPListener
from functionfuse.storage import FileStore


@pytest.fixture(scope="module", autouse=True)
def durable(local_ray, root):
    workflow.init(storage=FileStore(root))


@pytest.fixture(scope="module")
def address():
    return http_event_provider.start(port=0)


def send(address, workflow_id, event, *, data=None):
    """Post an event; return the status and the answer."""
    body = json.dumps(event).encode() if data is None else data
    request = urllib.request.Request(f"{address}/send_event/{workflow_id}", data=body)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def event(key, payload):
    return {"event_key": key, "event_payload": payload}


@pytest.mark.slow(reason="a program and an event that are waited for")
def test_an_event_is_answered_when_it_is_stored_and_reaches_its_workflow(address):
    waits = [workflow.wait_for_event(HTTPListener, event_key=key) for key in ("a", "b")]
    output = workflow.run_async(gather.bind(*waits), workflow_id="http")
    assert send(address, "http", event("a", {"approved": True})) == (200, {})
    assert send(address, "http", event("b", 2)) == (200, {})
    assert ray.get(output) == (("a", {"approved": True}), ("b", 2))


def test_events_of_one_key_reach_the_workflows_they_were_sent_to(address):
    ids = ["http 1", "http 2"]
    outputs = [workflow.run_async(workflow.wait_for_event(HTTPListener, "key"), workflow_id=name) for name in ids]
    for name in reversed(ids):
        assert send(address, name.replace(" ", "%20"), event("key", name))[0] == 200
    assert ray.get(outputs) == [("key", "http 1"), ("key", "http 2")]


def test_an_event_may_come_before_its_workflow_and_again(address):
    assert send(address, "early", event("key", [1]))[0] == 200
    assert send(address, "early", event("key", [1]))[0] == 200
    assert send(address, "early", event("key", [2])) == (
        409,
        {"error": {"code": 409, "message": "another event 'key' was sent to workflow 'early' before"}},
    )
    assert workflow.run(workflow.wait_for_event(HTTPListener, "key"), workflow_id="early") == ("key", [1])
    workflow.delete("early")
    assert send(address, "early", event("key", [2]))[0] == 200


def test_events_for_ids_without_workflows_are_listed_and_deleted(address, root, capsys):
    assert send(address, "nobody", event("key", 1))[0] == 200
    assert send(address, "somebody", event("key", 1))[0] == 200
    workflow.run(add.bind(1), workflow_id="somebody")
    assert ids("NONE") >= {"nobody"}
    assert not ids("NONE") & ids()
    assert main(["list", "--storage", str(root)]) == 0
    assert {"NONE        nobody", "SUCCESSFUL  somebody"} <= set(capsys.readouterr().out.splitlines())
    assert main(["list", "--storage", str(root), "--json"]) == 0
    assert {"id": "nobody", "status": "NONE"} in json.loads(capsys.readouterr().out)["workflows"]
    assert main(["status", "somebody", "--storage", str(root), "--json"], "functionfuse durable") == 0
    assert json.loads(capsys.readouterr().out) == {
        "format": 1,
        "verb": "durable status",
        "workflows": [{"id": "somebody", "status": "SUCCESSFUL"}],
    }
    assert main(["delete", "nobody", "--storage", str(root)]) == 0
    assert "nobody" not in ids("NONE")
    with pytest.raises(workflow.WorkflowNotFoundError):
        workflow.delete("nobody")
    send(address, "nobody", event("key", 2))
    workflow.delete("nobody")
    assert "nobody" not in ids("NONE")


def ids(status=None):
    return {workflow_id for workflow_id, _ in workflow.list_all(status)}


def test_a_server_that_runs_elsewhere_says_so(address):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert http_event_provider.start() == http_event_provider.start(port=0) == address
    with pytest.warns(UserWarning, match=rf"{address} already.* with host='127.0.0.1', port=8123") as caught:
        assert http_event_provider.start(port=8123) == address
    assert caught[0].filename == __file__
    with pytest.warns(UserWarning, match=r"host='0\.0\.0\.0'"):
        assert http_event_provider.start("0.0.0.0") == address


@pytest.mark.parametrize(
    ("path", "data", "status"),
    [
        ("w", b"no json", 400),
        ("w", b"{}", 400),
        ("w", b"[]", 400),
        ("w", b'{"event_key": 1, "event_payload": 1}', 400),
    ],
)
def test_what_is_no_event_is_refused(address, path, data, status):
    answered, answer = send(address, path, None, data=data)
    assert (answered, answer["error"]["code"]) == (status, status)


# -- the command line


def test_list_status_and_delete_need_no_cluster(root):
    workflow.run(add.bind(1), workflow_id="done")
    with pytest.raises(workflow.WorkflowExecutionError):
        workflow.run(failing.bind(), workflow_id="not done")
    command = [sys.executable, "-m", "functionfuse.backends.addons.rayworkflow"]

    def said(*words):
        return subprocess.run([*command, *words, "--storage", f"file:{root}"], capture_output=True, text=True)

    listed = said("list").stdout.splitlines()
    assert {"SUCCESSFUL  done", "FAILED      not done"} <= set(listed)
    assert said("status", "done").stdout == "SUCCESSFUL\n"
    assert said("delete", "done").returncode == 0
    again = said("status", "done")
    assert (again.returncode, again.stderr) == (1, "Workflow[id=done] was referenced but doesn't exist.\n")


@pytest.mark.slow(reason="a command that waits until a lease has expired")
def test_a_running_workflow_is_not_deleted_and_can_be_cancelled(root, path, capsys, monkeypatch):
    output = workflow.run_async(held.bind(path), workflow_id="running")
    wait_until_noted(f"{path}.started")
    assert main(["status", "running", "--storage", str(root)]) == 0
    assert capsys.readouterr().out == "RUNNING\n"
    for lease in ([], ["--lease", "0.1"]):  # that of the owner counts
        assert main(["delete", "running", "--storage", str(root), *lease]) == 1
        assert "still running" in capsys.readouterr().err
    monkeypatch.setattr(ray, "init", lambda **_: None)  # this process is connected
    monkeypatch.setenv("FUNCTIONFUSE_WORKFLOW_STORAGE", str(root))
    assert main(["cancel", "running"]) == 0
    with pytest.raises(workflow.WorkflowCancellationError):
        ray.get(output)
    note(path)
    assert main(["resume", "running"]) == 0
    assert capsys.readouterr().out == "1\n"
    assert main(["resume", "nobody"]) == 1
    assert "not resumable" in capsys.readouterr().err


def test_the_storage_has_to_be_said(capsys, monkeypatch):
    monkeypatch.delenv("FUNCTIONFUSE_WORKFLOW_STORAGE", raising=False)
    assert main(["list"]) == 1
    assert "FUNCTIONFUSE_WORKFLOW_STORAGE" in capsys.readouterr().err


@pytest.mark.parametrize("seconds", ["-1", "0", "nan", "inf", "soon"])
def test_a_lease_is_a_positive_number_of_seconds(root, seconds, capsys):
    with pytest.raises(SystemExit):
        main(["list", "--storage", str(root), f"--lease={seconds}"])
    assert f"seconds of a lease: {seconds!r}" in capsys.readouterr().err


@pytest.mark.parametrize("prefix", ["", "file:", "file://"])
def test_a_folder_that_is_not_there_is_not_made(tmp_path, prefix, capsys):
    for command in (["list"], ["status", "x"], ["delete", "x"], ["resume", "x"], ["cancel", "x"]):
        assert main([*command, "--storage", f"{prefix}{tmp_path}/typo"]) == 1
        assert "there is no such folder" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("prefix", ["", "ray://"])
def test_an_address_that_takes_no_connection_is_refused(root, prefix, capsys):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"{prefix}127.0.0.1:{closed.getsockname()[1]}"
        assert main(["resume", "x", "--storage", str(root), "--address", address]) == 1
    assert f"no cluster can be reached at {address!r}" in capsys.readouterr().err


@pytest.mark.slow(reason="waits until an address is given up")
@pytest.mark.parametrize("prefix", ["", "ray://"])
def test_an_address_without_a_cluster_is_given_up(root, prefix):
    command = [sys.executable, "-m", "functionfuse.backends.addons.rayworkflow", "resume", "x", "--storage", str(root)]
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = f"{prefix}127.0.0.1:{silent.getsockname()[1]}"
        ended = subprocess.run([*command, "--address", address], capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stderr.splitlines()[-1]) == (
        1,
        f"no cluster answers at {address!r} within 14 seconds",
    )
