"""Credentials that a function of the user returns; it is called again when they expire."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from botocore.credentials import CredentialProvider, CredentialResolver, Credentials, RefreshableCredentials

from functionfuse.errors import StorageError

if TYPE_CHECKING:
    from .settings import S3Settings

_EXPIRED = {"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"}


def resolver_of(settings: S3Settings) -> Any:
    """Return what a session of botocore finds the credentials of these settings with."""
    return CredentialResolver([_FunctionProvider(settings)])


def retry_when_expired(client: Any, session: Any, settings: S3Settings) -> None:
    """Retry a request once, with new credentials, when the server says that the old ones have expired.

    Args:
        client: of boto3.
        session: of boto3, which the client was made by.
        settings: of the store.
    """
    held = session.get_credentials()
    if isinstance(held, RefreshableCredentials):
        return  # knows by itself when

    def needs_retry(response: Any, attempts: int, **_: Any) -> float | None:
        if response is None or attempts > 1 or response[1].get("Error", {}).get("Code") not in _EXPIRED:
            return None
        found = settings.find_credentials()
        held.access_key, held.secret_key = found["aws_access_key_id"], found["aws_secret_access_key"]
        held.token = found.get("aws_session_token")
        return 0.0

    client.meta.events.register("needs-retry.s3", needs_retry)


class _FunctionProvider(CredentialProvider):  # type: ignore[misc]  # botocore has no annotations
    METHOD = "functionfuse"

    def __init__(self, settings: S3Settings) -> None:
        super().__init__()
        self._settings = settings

    def load(self) -> Any:
        found = self._settings.find_credentials()
        if "expiry" in found:
            return RefreshableCredentials.create_from_metadata(
                _metadata(found), lambda: _metadata(self._settings.find_credentials()), self.METHOD
            )
        return Credentials(
            found["aws_access_key_id"], found["aws_secret_access_key"], found.get("aws_session_token"), self.METHOD
        )


def _metadata(found: dict[str, Any]) -> dict[str, Any]:
    """Return credentials as botocore wants them when they expire."""
    expiry = found.get("expiry")
    try:
        moment: Any = datetime.fromisoformat(expiry) if isinstance(expiry, str) else expiry
        is_past = moment <= datetime.now(UTC)
    except (TypeError, ValueError) as error:
        raise StorageError(f"credentials: 'expiry' must be a time with its zone, got {expiry!r}") from error
    if is_past:
        raise StorageError(f"credentials: those that the function returned have expired at {moment}")
    return {
        "access_key": found["aws_access_key_id"],
        "secret_key": found["aws_secret_access_key"],
        "token": found.get("aws_session_token"),
        "expiry_time": moment.isoformat(),
    }
