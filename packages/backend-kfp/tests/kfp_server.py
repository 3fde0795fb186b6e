"""An API server of Kubeflow Pipelines on 127.0.0.1, with runs that really run.

Paths, methods and bodies are those of the installed ``kfp_server_api``: what its models do not know is refused. A run
is the IR that a client submitted, executed by `kfp.local` in a process of its own.
"""

from __future__ import annotations

import datetime
import inspect
import json
import os
import re
import signal
import subprocess
import sys
import threading
import uuid
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple
from urllib.parse import parse_qs, urlparse

import kfp_server_api
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

# Imports kfp once, which takes a second, and forks for each run.
RUNNER = """
import json, os, signal, sys, traceback, warnings
from contextlib import suppress
warnings.simplefilter("ignore")
from google.protobuf import json_format
from kfp import local
from kfp.local import pipeline_orchestrator
from kfp.pipeline_spec import pipeline_spec_pb2

def run(folder):
    spec = json_format.ParseDict(json.load(open("ir.json")), pipeline_spec_pb2.PipelineSpec())
    local.init(runner=local.SubprocessRunner(use_venv=False), pipeline_root=folder)
    pipeline_orchestrator.run_local_pipeline(spec, {})

signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # no process waits for a run
for line in sys.stdin:
    folder = line.rstrip("\\n")
    pid = os.fork()
    with suppress(OSError):
        os.setpgid(pid, pid or os.getpid())  # in both processes: whoever is first
    if pid:
        print(pid, flush=True)
        continue
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.chdir(folder)
    log = os.open("log", os.O_WRONLY | os.O_CREAT)
    os.dup2(log, 1)
    os.dup2(log, 2)
    ended = "FAILED"
    try:
        run(folder)
        ended = "SUCCEEDED"
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    with open("ended.part", "w") as file:
        file.write(ended)
    os.rename("ended.part", "ended")
    os._exit(0)
"""
LOG = re.compile(r"/apis/v1alpha1/runs/([^/]+)/nodes/([^/]+)/log")
COLOR = re.compile(r"\x1b\[[0-9;]*m")
MAX_PARAMETER_LENGTH = 10_000


class Route(NamedTuple):
    pattern: re.Pattern
    method: str
    name: str
    body: str | None
    answer: str


def routes():
    """Return the calls of the generated client."""
    found = []
    for module in vars(kfp_server_api.api).values():
        source = inspect.getsource(module) if inspect.ismodule(module) else ""
        for call in re.split(r"\n    def (?=\w+_with_http_info)", source)[1:]:
            name = call.partition("_with_http_info")[0]
            path, method = re.search(r"call_api\(\s*'([^']+)', '([A-Z]+)'", call).groups()
            answer = re.search(r"response_type='?(\w+)", call).group(1)
            body = re.search(r"body_params = local_var_params\['(\w+)'\]", call)
            kind = body and re.search(rf":type {body.group(1)}: (\w+)", call).group(1)
            pattern = re.compile(re.sub(r"\{[\w.]+\}", "([^/:]+)", path) + "$")
            found.append(Route(pattern, method, name, kind, answer))
    return found


ROUTES = routes()


def mismatches(value, kind, path):
    """Return messages about the items of a JSON value that do not fit a type of the API."""
    if value is None or kind == "object":
        return []
    if kind.startswith("list["):
        items = value if isinstance(value, list) else [NotImplemented]
        return [message for n, item in enumerate(items) for message in mismatches(item, kind[5:-1], f"{path}[{n}]")]
    if kind.startswith("dict("):
        items = value.items() if isinstance(value, dict) else [("?", NotImplemented)]
        return [message for key, item in items for message in mismatches(item, kind[10:-1], f"{path}.{key}")]
    plain = {"str": (str, int), "datetime": str, "bool": bool, "int": (int, str), "float": (int, float, str)}
    if kind in plain:
        return [] if isinstance(value, plain[kind]) else [f"{path}: {value!r} is no {kind}"]
    model = getattr(kfp_server_api, kind)
    if hasattr(model, "allowable_values"):
        return [] if value in model.allowable_values else [f"{path}: {value!r} is no {kind}"]
    if not isinstance(value, dict):
        return [f"{path}: {value!r} is no {kind}"]
    names = {key: name for name, key in model.attribute_map.items()}
    return [
        message
        for key, item in value.items()
        for message in (
            mismatches(item, model.openapi_types[names[key]], f"{path}.{key}")
            if key in names
            else [f"{path}.{key}: {kind} has no such field"]
        )
    ]


def now():
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Refused(Exception):
    def __init__(self, code, message):
        super().__init__(message)
        self.code = code


class FakeKFPServer:
    """The server.

    Attributes:
        runs: runs by id.
        recurring: recurring runs by id.
        refused: the messages of the requests that it refused.
    """

    def __init__(self, folder):
        self.folder = folder
        self.experiments, self.runs, self.recurring, self._pids = {}, {}, {}, {}
        self._runner = subprocess.Popen(
            [sys.executable, "-c", RUNNER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.refused = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self):
                length = int(self.headers.get("Content-Length") or 0)
                code, kind, data = server.answer(self.command, self.path, self.rfile.read(length))
                self.send_response(code)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_DELETE = answer

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def close(self):
        for run_id in self._pids:
            self._kill(run_id)
        self._runner.communicate(timeout=60)
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, method, target, body):
        url = urlparse(target)
        try:
            if found := LOG.fullmatch(url.path):
                return 200, "text/plain", self.log(*found.groups()).encode()
            data = json.dumps(self._routed(method, url, body)).encode()
        except Refused as refusal:
            self.refused.append(str(refusal))
            answer = {"error": str(refusal), "code": 3, "message": str(refusal)}
            return refusal.code, "application/json", json.dumps(answer).encode()
        return 200, "application/json", data

    def _routed(self, method, url, body):
        for route in ROUTES:
            found = route.pattern.match(url.path)
            if found and route.method == method:
                break
        else:
            raise Refused(404, f"no route {method} {url.path}")
        given = json.loads(body) if route.body and body else None
        wrong = mismatches(given, route.body, route.body) if route.body else []
        if wrong:
            raise Refused(400, "; ".join(wrong))
        serve = getattr(self, route.name, None)
        if serve is None:
            raise Refused(501, f"this server has no {route.name}")
        answer = serve(given, parse_qs(url.query), *found.groups())
        assert mismatches(answer, route.answer, "answer") == []
        return answer

    # -- services

    def healthz_service_get_healthz(self, body, query):
        return {"multi_user": False}

    def experiment_service_list_experiments(self, body, query):
        wanted = {p.get("string_value", p.get("stringValue")) for p in json.loads(query["filter"][0])["predicates"]}
        found = [e for e in self.experiments.values() if e["display_name"] in wanted]
        return {"experiments": found, "total_size": len(found)}

    def experiment_service_create_experiment(self, body, query):
        made = {**body, "experiment_id": str(uuid.uuid4()), "created_at": now()}
        self.experiments[made["experiment_id"]] = made
        return made

    def run_service_create_run(self, body, query):
        spec = self._checked_spec(body)
        run_id = str(uuid.uuid4())
        run = {**body, "run_id": run_id, "created_at": now(), "state": "RUNNING"}
        self.runs[run_id] = run
        folder = self.folder / run_id
        folder.mkdir()
        (folder / "ir.json").write_text(json.dumps(spec))
        (folder / "log").touch()
        self._runner.stdin.write(f"{folder}\n")
        self._runner.stdin.flush()
        self._pids[run_id] = int(self._runner.stdout.readline())
        return run

    def run_service_get_run(self, body, query, run_id):
        if run_id not in self.runs:
            raise Refused(404, f"run {run_id} not found")
        run, ended = self.runs[run_id], self.folder / run_id / "ended"
        if run["state"] == "RUNNING" and ended.exists():
            run.update(state=ended.read_text(), finished_at=now())
        elif run["state"] == "CANCELING":
            run.update(state="CANCELED", finished_at=now())
        states = {"SUCCESS": "SUCCEEDED", "FAILURE": "FAILED"}
        run["run_details"] = {
            "task_details": [
                {"run_id": run_id, "task_id": name, "display_name": name, "pod_name": f"pod-of-{name}",
                 "state": states.get(state, "RUNNING")}
                for name, (state, _) in self._tasks(run_id).items()
            ]
        }  # fmt: skip
        return run

    def run_service_terminate_run(self, body, query, run_id):
        self.runs[run_id]["state"] = "CANCELING"
        self._kill(run_id)
        return {}

    def recurring_run_service_create_recurring_run(self, body, query):
        self._checked_spec(body)
        if len(body["trigger"]["cron_schedule"]["cron"].split()) != 6:
            raise Refused(400, "cron has six fields")
        made = {**body, "recurring_run_id": str(uuid.uuid4()), "created_at": now(), "status": "ENABLED"}
        made["max_concurrency"] = str(made.get("max_concurrency", 1))
        self.recurring[made["recurring_run_id"]] = made
        return made

    def recurring_run_service_delete_recurring_run(self, body, query, recurring_id):
        del self.recurring[recurring_id]
        return {}

    # -- runs

    def log(self, run_id, pod):
        return self._tasks(run_id).get(pod.removeprefix("pod-of-"), ("", ""))[1]

    def _tasks(self, run_id):
        """Return the status and the log of each task."""
        log = COLOR.sub("", (self.folder / run_id / "log").read_text())
        tasks = {}
        for part in log.split("Executing task ")[1:]:
            name = part.split("'")[1]
            ended = re.search(rf"Task '{name}' finished with status (\w+)", part)
            tasks[name] = (ended and ended.group(1), part)
        return tasks

    def _checked_spec(self, body):
        given = body["pipeline_spec"]
        for value in ((body.get("runtime_config") or {}).get("parameters") or {}).values():
            if len(str(value)) > MAX_PARAMETER_LENGTH:
                raise Refused(400, "a parameter is too long")
        spec = given.get("pipeline_spec", given)
        try:
            json_format.ParseDict(spec, pipeline_spec_pb2.PipelineSpec())
            json_format.ParseDict(given.get("platform_spec", {}), pipeline_spec_pb2.PlatformSpec())
        except json_format.ParseError as error:
            raise Refused(400, f"not a pipeline: {error}") from error
        return spec

    def _kill(self, run_id):
        with suppress(ProcessLookupError):
            os.killpg(self._pids[run_id], signal.SIGKILL)
