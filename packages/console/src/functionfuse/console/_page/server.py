"""The server of the local page: on this machine only, until Ctrl-C."""

from __future__ import annotations

import secrets
import socket
import webbrowser
from contextlib import suppress
from typing import TYPE_CHECKING

from functionfuse.errors import OptionError
from functionfuse.stores import Catalogue, open_store

try:
    import uvicorn

    from .application import Application
    from .guard import Guard
except ModuleNotFoundError as missing:
    if missing.name not in ("starlette", "uvicorn"):
        raise
    raise ModuleNotFoundError(
        f"the local page needs {missing.name}: pip install 'functionfuse-console[ui]'", name=missing.name
    ) from None

if TYPE_CHECKING:
    from collections.abc import Callable

_MOST_CONNECTIONS = 200


class PageServer(uvicorn.Server):
    """Serves the page on a free port of the loopback interface, or on a given one.

    Args:
        store: whose runs are shown.
        port: 0 for a free one.

    Attributes:
        address: the link, which holds the token.

    Raises:
        OptionError: the port cannot be used.
    """

    def __init__(self, store: Catalogue, port: int = 0) -> None:
        self._socket = _bound(port)
        port = self._socket.getsockname()[1]
        token = secrets.token_urlsafe(24)
        self.address = f"http://127.0.0.1:{port}/?token={token}"
        self._application = Application(store)
        super().__init__(
            uvicorn.Config(
                Guard(self._application.routes(), token, port),
                lifespan="off",
                ws="none",
                log_level="warning",
                access_log=False,
                server_header=False,
                proxy_headers=False,
                limit_concurrency=_MOST_CONNECTIONS,
                timeout_graceful_shutdown=3,
            )
        )

    def serve_page(self) -> None:
        """Serve until Ctrl-C, or until `should_exit` is set."""
        with self._socket, suppress(KeyboardInterrupt):
            self.run(sockets=[self._socket])

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End event streams, then the server."""
        self._application.closing.set()
        await super().shutdown(sockets)


def serve_store(
    store: Catalogue | str, *, port: int = 0, browser: bool = True, announce: Callable[[str], object] | None = None
) -> None:
    """Show the runs of a store in a browser until Ctrl-C.

    Args:
        store: the store, or its location, such as `"file:results"` or `"s3://bucket/prefix"`.
        port: of the server; 0 for a free one.
        browser: whether the page is opened; else its link is printed only.
        announce: called with the link, instead of printing it.

    Raises:
        OptionError: the port or the location cannot be used, or the store cannot list what it has.
    """
    found = open_store(store) if isinstance(store, str) else store
    if not isinstance(found, Catalogue):
        raise OptionError(f"{found!r} cannot list what it has: it has not the verbs of a Catalogue")
    server = PageServer(found, port)
    if announce is None:
        print(f"The page is at {server.address}\nCtrl-C ends it.", flush=True)
    else:
        announce(server.address)
    if browser:
        webbrowser.open(server.address)
    server.serve_page()


def _bound(port: int) -> socket.socket:
    if isinstance(port, bool) or not isinstance(port, int) or not 0 <= port < 1 << 16:
        raise OptionError(f"port must be a number from 0 to 65535, got {port!r}")
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
    except OSError as error:
        listener.close()
        raise OptionError(f"port {port} cannot be used: {error.strerror}; 0 takes a free one") from None
    return listener
