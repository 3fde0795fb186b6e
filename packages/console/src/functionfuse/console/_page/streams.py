"""Event streams: what a live page is sent. A viewer that does not read holds no thread, and is left."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from starlette.types import Receive, Scope, Send

_QUIET = 15.0  # seconds after which a comment is sent, which shows whether the viewer is still there
_PATIENCE = 30.0  # seconds that a viewer may take to read what it is sent
_HEADERS = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"connection", b"close")]


class EventStream:
    """The answer to the request of an event source.

    Args:
        messages: what is sent.
        closing: set when the server ends.
        patience: seconds that a viewer may take to read a message.
    """

    def __init__(
        self, messages: AsyncGenerator[str, None], closing: asyncio.Event, *, patience: float = _PATIENCE
    ) -> None:
        self._messages = messages
        self._closing = closing
        self._patience = patience

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        """Send messages until there are no more, the viewer leaves or does not read, or the server ends."""
        ends = [asyncio.ensure_future(one) for one in (_disconnected(receive), self._closing.wait(), self._send(send))]
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in ends:
                task.cancel()
            await asyncio.gather(*ends, return_exceptions=True)
        with suppress(Exception):  # the viewer has left
            await asyncio.wait_for(send({"type": "http.response.body", "body": b"", "more_body": False}), 1.0)

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
        async with aclosing(self._messages) as messages:
            following = asyncio.ensure_future(anext(messages, None))
            try:
                while True:
                    done, _ = await asyncio.wait([following], timeout=_QUIET)
                    message = following.result() if done else ""
                    if message is None:
                        return
                    text = f"data: {message}\n\n" if message else ":\n\n"
                    body = {"type": "http.response.body", "body": text.encode(), "more_body": True}
                    await asyncio.wait_for(send(body), self._patience)
                    if done:
                        following = asyncio.ensure_future(anext(messages, None))
            finally:
                following.cancel()
                await asyncio.gather(following, return_exceptions=True)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
