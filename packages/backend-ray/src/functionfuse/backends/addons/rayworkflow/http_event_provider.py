"""Events over HTTP: a server that stores them, and the listener that finds them.

An event is kept by workflow and key, and answered after it was stored. So it may come before its wait, before its
workflow even, and while no workflow runs; a sender that gets no answer sends it again.
"""

from __future__ import annotations

import asyncio
import json
import threading
from http import HTTPStatus
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import ray

from functionfuse._warning import warn_user
from functionfuse.backends.addons.rayworkflow._controller import actor
from functionfuse.backends.addons.rayworkflow._records.journal import EventInbox, deserialized_store
from functionfuse.backends.addons.rayworkflow._worker.context import current
from functionfuse.backends.addons.rayworkflow._worker.task_actor import NAMESPACE
from functionfuse.backends.addons.rayworkflow.event_listener import EventListener
from functionfuse.errors import OptionError

if TYPE_CHECKING:
    from aiohttp.web import Request, Response

PROVIDER = "functionfuse-http-events"
HOST, PORT = "127.0.0.1", 8000
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
        inbox = EventInbox(deserialized_store(context.location.store), context.workflow_id)
        pause = _SHORTEST
        while (found := inbox.get(key)) is None:
            await asyncio.sleep(pause)
            pause = min(_LONGEST, 1.5 * pause)
        return key, json.loads(found)


def start(host: str | None = None, port: int | None = None) -> str:
    """Start the server in the cluster, unless it runs; return its address, to which ``/send_event/{id}`` is added.

    There is one server in a cluster: when it runs at another address than this one, a warning says so.

    A POST to ``<address>/send_event/<workflow_id>`` takes ``{"event_key": "...", "event_payload": ...}``. It is
    answered with 200 when the event is stored, also when it is sent again; with 409 when another payload was sent
    under this key before, and with 400 when it is no event. There is no authentication: whoever reaches the
    address can send events.

    Args:
        host: the address to listen at, by default 127.0.0.1; "0.0.0.0" for all of the machine's.
        port: by default 8000; 0 for a free one.

    Raises:
        OptionError: aiohttp is not installed.
    """
    if find_spec("aiohttp") is None:
        raise OptionError("events over HTTP need aiohttp: pip install functionfuse-backend-ray[events]")
    kind = ray.remote(num_cpus=0, max_restarts=-1)(HTTPEventProvider)
    options = {"name": PROVIDER, "namespace": NAMESPACE, "lifetime": "detached", "get_if_exists": True}
    wanted = HOST if host is None else host, PORT if port is None else port
    provider = kind.options(**options).remote(actor.serialized_store(), *wanted)
    address, started_with, actual_port = ray.get(provider.address.remote())
    if host not in (None, started_with) or port not in (None, 0, actual_port):
        warn_user(
            f"HTTP events are received at {address} already, where their server was started first; it was not started "
            f"with host={wanted[0]!r}, port={wanted[1]}"
        )
    return str(address)


class HTTPEventProvider:
    """The actor with the server; see `start`."""

    def __init__(self, serialized_store: bytes, host: str, port: int) -> None:
        self._host = host
        self._store = deserialized_store(serialized_store)
        loop = asyncio.new_event_loop()
        threading.Thread(target=loop.run_forever, daemon=True, name="http events").start()
        address, self._port = asyncio.run_coroutine_threadsafe(self._serve(host, port), loop).result()
        self._address = f"http://{address}:{self._port}/event"

    def address(self) -> tuple[str, str, int]:
        """Return where the server is, the host that it was started with, and its port."""
        return self._address, self._host, self._port

    async def _serve(self, host: str, port: int) -> tuple[str, int]:
        from aiohttp import web

        app = web.Application(client_max_size=_LARGEST)
        app.router.add_post(_PATH + "{workflow_id}", self._answer)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, host, port).start()
        host, port = runner.addresses[0][:2]
        return host, port

    async def _answer(self, request: Request) -> Response:
        from aiohttp import web

        try:
            event = await request.json()
            key, payload = event["event_key"], event["event_payload"]
        except (ValueError, KeyError, TypeError):
            return _refused(HTTPStatus.BAD_REQUEST, 'an event is {"event_key": "...", "event_payload": ...}')
        if not isinstance(key, str) or not key:
            return _refused(HTTPStatus.BAD_REQUEST, "event_key must be a text that is not empty")
        workflow_id = request.match_info["workflow_id"]
        inbox = EventInbox(self._store, workflow_id)
        if not await asyncio.to_thread(inbox.put, key, json.dumps(payload, sort_keys=True)):
            message = f"another event {key!r} was sent to workflow {workflow_id!r} before"
            return _refused(HTTPStatus.CONFLICT, message)
        return web.json_response({})


def _refused(status: HTTPStatus, message: str) -> Response:
    from aiohttp import web

    return web.json_response({"error": {"code": int(status), "message": message}}, status=status)
