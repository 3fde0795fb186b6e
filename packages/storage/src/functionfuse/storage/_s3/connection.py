"""Connections to S3 by boto3, one a process and settings, and what its errors mean."""

from __future__ import annotations

import json
import os
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from functionfuse._suggestions import did_you_mean
from functionfuse.errors import OptionError, StorageError

if TYPE_CHECKING:
    from .settings import S3Settings

NEEDS_BOTO3 = "a store of kind 'S3' needs boto3: pip install 'functionfuse-storage[s3]'"

_NORMAL = {"connect_timeout": 2, "read_timeout": 60, "retries": {"mode": "standard", "total_max_attempts": 3}}
# An endpoint that does not exist is an error within ten seconds.
_PROBING = {"connect_timeout": 2, "read_timeout": 3, "retries": {"mode": "standard", "total_max_attempts": 2}}
_ACCESS_REFUSED = {
    "AccessDenied", "Forbidden", "InvalidAccessKeyId", "InvalidToken", "SignatureDoesNotMatch", "403",
}  # fmt: skip
_EXPIRED = {"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"}

_clients: dict[tuple[Any, ...], Any] = {}
_sessions: dict[tuple[Any, ...], Any] = {}
_making = threading.Lock()
if hasattr(os, "register_at_fork"):  # another thread of the parent may hold it
    os.register_at_fork(after_in_child=lambda: globals().update(_making=threading.Lock()))


def boto_client(settings: S3Settings, *, probing: bool = False) -> Any:
    """Return the boto3 client of this process; one that was inherited through a fork is not used.

    Args:
        settings: of the store.
        probing: give up soon where nothing responds.

    Raises:
        OptionError: the settings cannot be used.
        StorageError: boto3 or credentials are missing.
    """
    # Variables are looked up each time, and may change.
    by_variable = (settings.credentials or "").startswith("env:")
    found = tuple(sorted(settings.find_credentials().items())) if by_variable else None
    identity = (os.getpid(), settings, found, probing)
    if identity not in _clients:
        with _making:
            if identity not in _clients:
                _clients[identity] = _make(settings, probing=probing)
    return _clients[identity]


def status(error: Exception) -> int:
    """Return the HTTP status of the response behind an error; 0 when there was no response."""
    response = getattr(error, "response", None) or {}
    number = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return number if isinstance(number, int) else 0


def code(error: Exception) -> str:
    """Return the server's name of an error."""
    response = getattr(error, "response", None) or {}
    return str(response.get("Error", {}).get("Code", ""))


def is_absent(error: Exception) -> bool:
    """Return True if a request failed because there is no such object."""
    return status(error) == 404 and code(error) != "NoSuchBucket"


def is_interrupted(error: Exception) -> bool:
    """Return True if a connection was lost, or content ended early, which botocore leaves to its caller to retry."""
    from boto3.exceptions import RetriesExceededError
    from botocore.exceptions import HTTPClientError, IncompleteReadError

    return isinstance(error, (HTTPClientError, IncompleteReadError, RetriesExceededError, ConnectionError))


def is_of_boto(error: Exception) -> bool:
    """Return True if boto3 raised an error on purpose."""
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError

    return isinstance(error, (BotoCoreError, ClientError, Boto3Error))


def reason_of(error: Exception, settings: S3Settings) -> str:
    """Return why a request failed, and what would work.

    Args:
        error: that boto3 raised.
        settings: of the store.
    """
    from botocore import exceptions as known

    name = code(error)
    if name == "NoSuchBucket":
        return f"there is no bucket {settings.bucket!r}; make it first"
    if name in _EXPIRED:
        return f"access was refused ({name}): the credentials have expired; renew them where this store finds them"
    if name == "RequestTimeTooSkewed":
        return f"access was refused ({name}): {_clocks(error)}; set the clock of this machine"
    if name in _ACCESS_REFUSED:
        return f"access was refused ({name}); check key, secret and the rights on bucket {settings.bucket!r}"
    if isinstance(error, (known.NoCredentialsError, known.PartialCredentialsError)):
        return "no credentials were found; give 'credentials', 'profile' or 'key' and 'secret'"
    if isinstance(error, known.ProfileNotFound):
        return f"there is no profile {settings.profile!r} in the AWS configuration"
    if isinstance(error, (known.HTTPClientError, known.ConnectionError)):
        where = settings.endpoint_url or f"S3 in region {settings.region or 'of the AWS configuration'}"
        return f"no response from {where!r}: {error}"
    return str(error)


def _clocks(error: Any) -> str:
    here = datetime.now(UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")
    there = error.response["ResponseMetadata"].get("HTTPHeaders", {}).get("date")
    return f"it is {here} here, and {there or 'another time'} on the server"


def _make(settings: S3Settings, *, probing: bool) -> Any:
    try:
        from .credentials import retry_when_expired
        from .retries import retry_for
    except ImportError as error:
        raise StorageError(NEEDS_BOTO3) from error
    config = _config(settings, probing=probing)
    try:
        session = _session(settings)
        made = session.client(
            "s3",
            endpoint_url=settings.endpoint_url,
            region_name=settings.region or session.region_name or "us-east-1",
            config=config,
            **({} if settings.verify is True else {"verify": settings.verify}),  # which leaves it to AWS_CA_BUNDLE
            **({} if settings.calls_function else settings.find_credentials()),
        )
    except (TypeError, ValueError) as error:
        raise OptionError(f"options of the S3 client cannot be used: {error}") from error
    except Exception as error:
        if not is_of_boto(error):
            raise
        raise StorageError(f"cannot open a store at {settings.address()!r}: {reason_of(error, settings)}") from error
    if settings.calls_function:
        retry_when_expired(made, session, settings)
    if settings.retry_seconds and not probing:
        retry_for(made, settings.retry_seconds, settings.address())
    return made


def _config(settings: S3Settings, *, probing: bool) -> Any:
    try:
        import boto3
        from botocore import UNSIGNED
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError
    except ImportError as error:
        raise StorageError(NEEDS_BOTO3) from error
    chosen = json.loads(settings.options)
    for name in chosen:
        if name not in Config.OPTION_DEFAULTS:
            hint = did_you_mean(name, Config.OPTION_DEFAULTS)
            raise OptionError(f"option 'options': botocore's Config has no {name!r}{hint}")
    options = {
        **_NORMAL,
        "max_pool_connections": max(10, 2 * settings.workers),
        "response_checksum_validation": "when_required",  # records carry checksums of their own
        # A text of one's own is not put together anew for every request, which takes a tenth of its time.
        "user_agent": f"functionfuse-storage boto3/{boto3.__version__}",
        **chosen,
        **({"signature_version": UNSIGNED} if settings.anon else {}),
    }
    try:
        config = Config(**options)
    except (AttributeError, TypeError, ValueError, BotoCoreError) as error:
        raise OptionError(f"option 'options': botocore's Config cannot be made of it: {error}") from error
    return config.merge(Config(**_PROBING)) if probing else config


def _session(settings: S3Settings) -> Any:
    """Return a session. It reads large descriptions of services from disk: one serves many clients."""
    import boto3
    from botocore.session import Session

    from .credentials import resolver_of

    identity = (os.getpid(), settings.profile, settings.credentials if settings.calls_function else None)
    if identity not in _sessions:
        core = Session(profile=settings.profile)
        if settings.calls_function:
            core.register_component("credential_provider", resolver_of(settings))
        _sessions[identity] = boto3.session.Session(botocore_session=core)
    return _sessions[identity]
