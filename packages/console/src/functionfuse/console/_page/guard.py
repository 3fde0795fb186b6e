"""Who may ask: a browser of this machine that was given the token, under the address that the server has.

A page of the web can neither read (other origins, no token) nor reach the server by a name that it lets lead here
(the header Host).
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from starlette.responses import PlainTextResponse, RedirectResponse, Response

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_HEADERS = {
    b"cache-control": b"no-store",
    b"content-security-policy": b"default-src 'none'; frame-ancestors 'none'",
    b"cross-origin-opener-policy": b"same-origin",
    b"cross-origin-resource-policy": b"same-origin",
    b"referrer-policy": b"no-referrer",
    b"x-content-type-options": b"nosniff",
    b"x-frame-options": b"DENY",
}
"""Those that a response sets itself stay."""

_SITES: tuple[list[bytes], ...] = (
    [],
    [b"none"],
    [b"same-origin"],
)  # Sec-Fetch-Site of a link that is opened, or of our own pages


class Guard:
    """Refuses requests of others.

    Args:
        app: answers the requests that are let through.
        token: that a browser has to have.
        port: of the server.
    """

    def __init__(self, app: ASGIApp, token: str, port: int) -> None:
        self._app = app
        self._token = token.encode()
        self._hosts = {f"127.0.0.1:{port}".encode(), f"localhost:{port}".encode()}
        self._cookie = f"functionfuse-{port}"  # browsers do not tell ports apart

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""

        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = {name.lower() for name, _ in message["headers"]}
                more = [(name, value) for name, value in _HEADERS.items() if name not in given]
                message = {**message, "headers": [*message["headers"], *more]}
            await send(message)

        answer = self._refusal(scope)
        await (answer or self._app)(scope, receive, send_safely)

    def _refusal(self, scope: Scope) -> Response | None:
        """Return the answer to a request that is not let through; None for one that is."""
        values: dict[bytes, list[bytes]] = {}
        for name, value in scope["headers"]:
            values.setdefault(name.lower(), []).append(value)
        hosts = values.get(b"host", [])
        if len(hosts) != 1 or hosts[0] not in self._hosts:
            return PlainTextResponse("this server has another address\n", 403)
        if values.get(b"sec-fetch-site", []) not in _SITES:
            return PlainTextResponse("pages of other sites have no access\n", 403)
        if scope["method"] != "GET":
            return PlainTextResponse("there is nothing to change here\n", 405, {"Allow": "GET"})
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [])
        if len(given) == 1 and self._is_token(given[0]):
            answer = RedirectResponse("/", 303)
            answer.set_cookie(self._cookie, self._token.decode(), httponly=True, samesite="strict")
            return answer
        if self._is_token(_cookie(values.get(b"cookie", []), self._cookie)):
            return None
        return PlainTextResponse("open the link that `functionfuse ui` printed: it holds a token\n", 401)

    def _is_token(self, text: str) -> bool:
        return hmac.compare_digest(text.encode("utf-8", "replace"), self._token)


def _cookie(headers: list[bytes], name: str) -> str:
    """Return a cookie; an empty text without it."""
    pairs = (pair.strip().partition("=") for header in headers for pair in header.decode("latin-1").split(";"))
    return next((value for key, _, value in pairs if key == name), "")
