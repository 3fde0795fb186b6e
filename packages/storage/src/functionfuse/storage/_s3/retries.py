"""Retries of requests for minutes: botocore gives up after a second, when a long computation may depend on one."""

from __future__ import annotations

import time
from typing import Any

from botocore.exceptions import ConnectionError as NoConnection
from botocore.exceptions import HTTPClientError, SSLError

from functionfuse._warning import warn_user

from .._object.retries import back_off

_STATUS = {429, 500, 502, 503, 504}
_CODES = {"SlowDown", "Throttling", "ThrottlingException", "RequestLimitExceeded", "RequestTimeout", "InternalError"}
_DEADLINE = "functionfuse-deadline"  # of a request, in its context
_QUIET = 10.0  # seconds of retries that nothing is said of


def retry_for(client: Any, seconds: float, address: str) -> None:
    """Retry requests that a server throttles, or that get no response, after botocore gave up.

    Args:
        client: of boto3.
        seconds: how long one request is retried.
        address: of the store, for the warning that a request is retried for long, which is given once.
    """
    warned: list[bool] = []

    def needs_retry(
        response: Any, attempts: int, caught_exception: Exception | None, request_dict: dict[str, Any], **_: Any
    ) -> float | None:
        if not _is_transient(response, caught_exception):
            return None
        now = time.monotonic()
        deadline: float = request_dict["context"].setdefault(_DEADLINE, now + seconds)
        if now >= deadline:
            return None
        if not warned and now >= deadline - seconds + _QUIET:
            warned.append(True)
            warn_user(
                f"the server of {address!r} is in trouble ({_described(response, caught_exception)}); "
                f"requests are retried for up to {seconds:g} s"
            )
        return min(back_off(attempts), deadline - now)

    client.meta.events.register_last("needs-retry.s3", needs_retry)


def _is_transient(response: Any, error: Exception | None) -> bool:
    if response is None:
        return isinstance(error, (NoConnection, HTTPClientError)) and not isinstance(error, SSLError)
    http, parsed = response
    return http.status_code in _STATUS or parsed.get("Error", {}).get("Code") in _CODES


def _described(response: Any, error: Exception | None) -> str:
    if response is None:
        return str(error)
    http, parsed = response
    return f"{http.status_code} {parsed.get('Error', {}).get('Code', '')}"
