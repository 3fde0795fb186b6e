"""Events over HTTP: a server that stores them, and the listener that finds them.

An event is kept by workflow and key, and answered after it was stored. So it may come before its wait, before its
workflow even, and while no workflow runs; a sender that gets no answer sends it again.
"""

from __future__ import annotations

import asyncio
import json
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import ray

from functionfuse.backends.addons.rayworkflow import _controller
from functionfuse.backends.addons.rayworkflow._context import current
from functionfuse.backends.addons.rayworkflow._journal import Inbox, opened
from functionfuse.backends.addons.rayworkflow.event_listener import EventListener

if TYPE_CHECKING:
    from functionfuse.stores import Catalogue

PROVIDER = "functionfuse-http-events"
_PATH = "/event/send_event/"
_LARGEST = 16 << 20  # bytes of a request
_SHORTEST, _LONGEST = 0.05, 1.0  # seconds between two looks


class HTTPListener(EventListener):
    """Waits for an event that somebody posts; the event is a pair of its key and its payload."""

    async def poll_for_event(self, event_key: str | None = None) -> tuple[str, Any]:
        """Return the event of this key that was sent to this workflow.

        Args:
            event_key: the key; by default the name of the waiting task.
        """
        context = current.get()
        assert context is not None
        key = context.task_id if event_key is None else event_key
        inbox = Inbox(opened(context.place.store), context.workflow_id)
        pause = _SHORTEST
        while (found := inbox.get(key)) is None:
            await asyncio.sleep(pause)
            pause = min(_LONGEST, 1.5 * pause)
        return key, json.loads(found)


def start(host: str = "127.0.0.1", port: int = 8000) -> str:
    """Start the server in the cluster, unless it runs; return its address, to which ``/send_event/{id}`` is added.

    A POST to ``<address>/send_event/<workflow_id>`` takes ``{"event_key": "...", "event_payload": ...}``. It is
    answered with 200 when the event is stored, also when it is sent again; with 409 when another payload was sent
    under this key before, and with 400 when it is no event. There is no authentication: whoever reaches the
    address can send events.

    Args:
        host: the address to listen at; "0.0.0.0" for all of the machine's.
        port: 0 for a free one.
    """
    kind = ray.remote(num_cpus=0, max_restarts=-1)(HTTPEventProvider)
    options = {"name": PROVIDER, "namespace": _controller.NAMESPACE, "lifetime": "detached", "get_if_exists": True}
    address: str = ray.get(kind.options(**options).remote(_controller.packed_store(), host, port).address.remote())
    return address


class HTTPEventProvider:
    """The actor with the server; see :func:`start`."""

    def __init__(self, packed_store: bytes, host: str, port: int) -> None:
        self._server = ThreadingHTTPServer((host, port), _handler(opened(packed_store)))
        threading.Thread(target=self._server.serve_forever, daemon=True, name="http events").start()

    def address(self) -> str:
        """Return where the server is."""
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}/event"


def _handler(store: Catalogue) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            status, message = self._take()
            answer = {} if status is HTTPStatus.OK else {"error": {"code": int(status), "message": message}}
            body = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

        def _take(self) -> tuple[HTTPStatus, str]:
            workflow_id = unquote(self.path.removeprefix(_PATH))
            if not self.path.startswith(_PATH) or not workflow_id:
                return HTTPStatus.NOT_FOUND, f"events are posted to {_PATH}<workflow_id>"
            length = self.headers.get("Content-Length", "")
            if not length.isdigit() or int(length) > _LARGEST:
                self.close_connection = True
                return HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"an event has a length, of up to {_LARGEST} bytes"
            try:
                event = json.loads(self.rfile.read(int(length)))
                key, payload = event["event_key"], event["event_payload"]
            except (ValueError, KeyError, TypeError):
                return HTTPStatus.BAD_REQUEST, 'an event is {"event_key": "...", "event_payload": ...}'
            if not isinstance(key, str) or not key:
                return HTTPStatus.BAD_REQUEST, "event_key must be a text that is not empty"
            if not Inbox(store, workflow_id).put(key, json.dumps(payload, sort_keys=True)):
                return HTTPStatus.CONFLICT, f"another event {key!r} was sent to workflow {workflow_id!r} before"
            return HTTPStatus.OK, ""

    return Handler
