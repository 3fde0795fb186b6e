"""Who the local page answers, and what it does not answer."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import httpx
import jsonschema
import pytest
from command_project import SCHEMA
from page_project import run_program, served

from functionfuse.console import serve
from functionfuse.console._page.streams import EventStream
from functionfuse.errors import OptionError
from functionfuse.runs import list_runs
from functionfuse.stores import open_store
from functionfuse.testing import wait_until


@pytest.fixture
def client(page_server):
    """A client that has the cookie."""
    with httpx.Client(base_url=page_server.address.partition("/?")[0], trust_env=False, timeout=30) as client:
        assert client.get(page_server.address).status_code == 303
        yield client


@pytest.fixture
def stranger(page_server):
    with httpx.Client(base_url=page_server.address.partition("/?")[0], trust_env=False, timeout=30) as client:
        yield client


@pytest.fixture
def run_ids(page_folder):
    """The ids of the runs by workflow, of several the newest."""
    return {run.workflow: run.id for run in reversed(list_runs(open_store(str(page_folder / "results"))))}


ADDRESSES = ["/", "/runs/latest", "/runs/latest/events", "/runs/latest/capsules/0", "/compare", "/favicon.ico"]


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize("token", ["", "?token=", "?token=wrong", "?token=%00%ff", "?token=a&token=b"])
def test_without_the_token_there_is_nothing(stranger, address, token):
    answer = stranger.get(address + token)
    assert (answer.status_code, answer.headers["content-type"]) == (401, "text/plain; charset=utf-8")
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("cookie", ["functionfuse-1=x", "a=b; =; ;;", "functionfuse-{port}=wrong", '"\\', "x" * 4000])
def test_another_cookie_is_not_the_token(stranger, page_server, cookie):
    port = str(stranger.base_url.port)
    assert stranger.get("/", headers={"Cookie": cookie.replace("{port}", port)}).status_code == 401


def test_the_link_sets_a_cookie_of_this_server_alone(stranger, page_server):
    answer = stranger.get(page_server.address)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    name, _, rest = answer.headers["set-cookie"].partition("=")
    assert name == f"functionfuse-{stranger.base_url.port}"
    assert {"httponly", "samesite=strict", "path=/"} <= {part.strip().lower() for part in rest.split(";")}
    assert stranger.get("/").status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1", "127.0.0.1:1", "[::1]:{port}", "evil.example:{port}", ""]
)
def test_another_host_is_refused(client, host):
    answer = client.get("/", headers={"Host": host.replace("{port}", str(client.base_url.port))})
    assert answer.status_code in (400, 403)


def test_localhost_is_this_host(client):
    assert client.get("/", headers={"Host": f"localhost:{client.base_url.port}"}).status_code == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site", "other"])
def test_pages_of_other_sites_are_refused(client, site):
    answer = client.get("/", headers={"Sec-Fetch-Site": site, "Origin": "https://evil.example"})
    assert answer.status_code == 403
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "TRACE"])
def test_there_is_nothing_to_change(client, method):
    answer = client.request(method, "/")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET")


@pytest.mark.parametrize("address", ADDRESSES)
def test_every_answer_keeps_others_out(client, address):
    headers = client.get(address).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "access-control-allow-origin" not in headers


@pytest.mark.parametrize(
    "path",
    [
        "/../../etc/passwd",
        "/runs/../../../etc/passwd",
        "/runs/..%2f..%2fetc%2fpasswd",
        "/runs/%00",
        "//evil.example/",
        "/runs/" + "a" * 9000,
    ],
)
def test_paths_lead_nowhere_else(client, page_server, path):
    cookie = "; ".join(f"{name}={value}" for name, value in client.cookies.items())
    host = f"127.0.0.1:{client.base_url.port}"
    request = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nCookie: {cookie}\r\nConnection: close\r\n\r\n"
    answer = raw(client.base_url.port, request.encode())
    assert answer.split(b" ")[1] == b"404"
    assert b"root:" not in answer


@pytest.mark.parametrize(
    "request_",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"\x16\x03\x01\x00" * 10 + b"\r\n\r\n",
    ],
)
def test_odd_requests_are_refused(page_server, client, request_):
    answer = raw(client.base_url.port, request_)
    assert answer.split(b" ")[1] in (b"400", b"403")


def raw(port, request):
    with closing(socket.create_connection(("127.0.0.1", port), timeout=30)) as connection:
        connection.sendall(request)
        parts = []
        while part := connection.recv(1 << 16):
            parts.append(part)
        return b"".join(parts)


def test_only_the_loopback_interface_listens(page_server, client):
    port = client.base_url.port
    tables = [Path("/proc/net", name).read_text().splitlines()[1:] for name in ("tcp", "tcp6")]
    listening = [line.split() for table in tables for line in table]
    own = [fields[1] for fields in listening if fields[3] == "0A" and fields[1].endswith(f":{port:04X}")]
    assert own == [f"0100007F:{port:04X}"]


def test_runs_and_capsules(client, run_ids):
    assert client.get("/runs/latest").status_code == 303
    page = client.get(f"/runs/{run_ids['failing']}")
    assert page.status_code == 200
    address = f"/runs/{run_ids['failing']}/capsules/2"
    assert address in page.text
    capsule = client.get(address)
    assert capsule.headers["content-disposition"] == 'attachment; filename="fit-13.capsule"'
    assert len(capsule.content) > 1000
    for missing in (f"/runs/{run_ids['failing']}/capsules/0", f"/runs/{run_ids['failing']}/capsules/99", "/runs/none"):
        assert client.get(missing).status_code == 404
    assert client.get(f"/runs/{run_ids['failing']}/events").status_code == 204


def test_a_filter_chooses_runs(client):
    titles = {"": "4 runs", "?state=failed": "1 run", "?workflow=training": "2 runs", "?label=experiment=8": "1 run"}
    for query, title in titles.items():
        assert f"<h1>{title}</h1>" in client.get("/" + query).text
    assert "No run is like this." in client.get("/?workflow=none").text


def test_two_runs_are_compared(client, page_folder):
    ids = [run.id for run in list_runs(open_store(str(page_folder / "results")), "training")]
    page = client.get("/compare", params={"run": ids}).text
    assert "argument count: 3 -&gt; 4" in page
    assert client.get("/compare", params={"run": ids[:1]}).status_code == 400
    assert client.get("/compare", params={"run": ["none", ids[0]]}).status_code == 404


def test_wrong_arguments(tmp_path, page_server, client):
    store = open_store(str(tmp_path / "results"))
    for port in (-1, 1 << 16, "80", True):
        with pytest.raises(OptionError, match="port must be a number"):
            serve(store, port=port)
    with pytest.raises(OptionError, match="cannot be used: Address already in use"):
        serve(store, port=client.base_url.port, browser=False)
    with pytest.raises(OptionError, match="verbs of a Catalogue"):
        serve(object())


@pytest.fixture
def live(tmp_path):
    """A server, and a run of another process that waits for a file."""
    with run_program(tmp_path, "live") as program:
        try:
            results = tmp_path / "results"
            wait_until(lambda: results.exists() and len(list_runs(open_store(str(results)))) == 1)
            with served(tmp_path) as server:
                yield server, tmp_path, program
        finally:
            program.kill()


@pytest.fixture
def live_client(live):
    """A client of the page of the run that goes on, and the address of its events."""
    server, _, _ = live
    with httpx.Client(base_url=server.address.partition("/?")[0], trust_env=False, timeout=60) as client:
        client.get(server.address)
        yield client, f"{client.get('/runs/latest').headers['location']}/events"


def test_a_live_run_is_sent_until_it_ends(live, live_client):
    _, folder, program = live
    client, events = live_client
    with client.stream("GET", events) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        lines = (line for line in stream.iter_lines() if line.startswith("data:"))
        assert '"state":"running"' in next(lines)
        (folder / "go").touch()
        *_, last = lines
    assert '"state":"failed"' in last
    assert program.wait(60) == 0
    assert client.get(events).status_code == 204


def test_event_streams_end_with_the_server(live, live_client):
    server, _, _ = live
    client, events = live_client
    with client.stream("GET", events) as stream:
        lines = stream.iter_lines()
        next(lines)
        server.should_exit = True
        assert all(line == "" or line.startswith((":", "data:")) for line in lines)


def test_a_viewer_that_never_reads_is_left():
    """It holds one message, whatever there is to send, and is left when it takes too long."""
    import asyncio

    taken, left = [], []

    async def messages():
        try:
            for number in range(1000):
                taken.append(number)
                yield "x"
        finally:
            left.append(True)

    async def view():
        stuck = asyncio.Event()

        async def send(message):
            if message["type"] == "http.response.body":
                await stuck.wait()

        stream = EventStream(messages(), asyncio.Event(), patience=0.05)
        await stream({}, stuck.wait, send)

    asyncio.run(asyncio.wait_for(view(), 30))
    assert (taken, left) == ([0], [True])


@pytest.mark.slow(reason="a program that serves the page, and is interrupted")
def test_ctrl_c_ends_the_program(page_folder):
    program = f"from functionfuse.console import serve\nserve({str(page_folder / 'results')!r}, browser=False)"
    with subprocess.Popen([sys.executable, "-u", "-c", program], stdout=subprocess.PIPE, text=True) as process:
        link = process.stdout.readline().split()[-1]
        wait_until(lambda: answers(link))
        os.kill(process.pid, signal.SIGINT)
        assert process.wait(30) == 0
        assert "Ctrl-C" in process.stdout.read()


@pytest.mark.slow(reason="a program that serves the page, and is interrupted")
def test_the_link_of_the_command_as_json(page_folder):
    arguments = ["-m", "functionfuse.console", "ui", "--storage", "results", "--no-browser", "--json"]
    with subprocess.Popen([sys.executable, *arguments], stdout=subprocess.PIPE, text=True, cwd=page_folder) as process:
        document = json.loads(process.stdout.readline())
        jsonschema.validate(document, SCHEMA)
        wait_until(lambda: answers(document["address"]))
        os.kill(process.pid, signal.SIGINT)
        assert process.wait(30) == 0
        assert process.stdout.read() == ""


def answers(link):
    try:
        return httpx.get(link, trust_env=False).status_code == 303
    except httpx.TransportError:
        return False
