"""Where a bucket is, and where the credentials for it are found: what an S3 store is made from."""

from __future__ import annotations

import importlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf
from typing import Any

from functionfuse._suggestions import did_you_mean
from functionfuse.errors import OptionError, StorageError

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]")
_ENDPOINT = re.compile(r"https?://[^/@\s]+(/[^@\s]*)?")
_REFERENCE = re.compile(r"env:\w*|\w+(\.\w+)*:\w+")
_SECRETS = {"key": "aws_access_key_id", "secret": "aws_secret_access_key", "token": "aws_session_token"}
_VARIABLES = {
    "ACCESS_KEY_ID": "aws_access_key_id",
    "SECRET_ACCESS_KEY": "aws_secret_access_key",
    "SESSION_TOKEN": "aws_session_token",
}
_S3FS = ("key", "secret", "token", "endpoint_url", "profile", "client_kwargs")


@dataclass(frozen=True)
class S3Settings:
    """Where the objects are. Literal credentials stay in this process: pickling refuses them."""

    bucket: str
    prefix: str
    endpoint_url: str | None
    region: str | None
    profile: str | None
    credentials: str | None
    options: str
    """Of botocore's `Config`, as JSON."""
    workers: int
    retry_seconds: float
    literal: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    def __getstate__(self) -> dict[str, Any]:
        if self.literal:
            raise StorageError(
                "this S3 store was made with a literal key and secret, which must not leave the process; use "
                "credentials='env:PREFIX_' or 'package.module:function', a profile, or the machine's own role"
            )
        return dict(self.__dict__)

    @property
    def path(self) -> str:
        """The option that bucket and prefix came from."""
        return f"/{self.bucket}/{self.prefix}".rstrip("/")

    def address(self, key: str = "") -> str:
        """Return the address of an object, for messages."""
        return f"s3://{self.bucket}/{key or self.prefix}"

    @property
    def calls_function(self) -> bool:
        """Return True if credentials come from a function of the user."""
        return self.credentials is not None and not self.credentials.startswith("env:")

    def find_credentials(self) -> dict[str, Any]:
        """Return the arguments that boto3 takes for credentials; none leave it to boto3 to find some.

        With those of a function there may be `expiry`.

        Raises:
            StorageError: there are none where the option says.
        """
        if self.literal:
            return dict(self.literal)
        if self.credentials is None:
            return {}
        module, _, name = self.credentials.partition(":")
        return _from_environment(name) if module == "env" else _from_function(module, name)


def make_settings(
    path: object,
    *,
    endpoint_url: str | None,
    region: str | None,
    profile: str | None,
    credentials: str | None,
    options: Mapping[str, Any] | None,
    workers: int,
    retry_seconds: float,
    literal: Mapping[str, str | None],
) -> S3Settings:
    """Return settings made of checked options.

    Args:
        path: `"/bucket/prefix"`.
        endpoint_url: of the server.
        region: of the bucket.
        profile: of the AWS configuration.
        credentials: where credentials are found.
        options: of botocore's `Config`.
        workers: parts that are transferred at the same time.
        retry_seconds: how long a request is retried.
        literal: `key`, `secret` and `token`.

    Raises:
        OptionError: an option cannot be used.
    """
    bucket, prefix = _bucket_and_prefix(path)
    for name, value in (("region", region), ("profile", profile)):
        if value is not None and (not isinstance(value, str) or not value):
            raise OptionError(f"option {name!r} must be a name, got {value!r}")
    if endpoint_url is not None and not (isinstance(endpoint_url, str) and _ENDPOINT.fullmatch(endpoint_url)):
        # Not shown: it may hold a password.
        raise OptionError("option 'endpoint_url' must look like 'http://host:port', without user and password")
    if isinstance(workers, bool) or not isinstance(workers, int) or not 1 <= workers <= 64:
        raise OptionError(f"option 'workers' must be a whole number from 1 to 64, got {workers!r}")
    if isinstance(retry_seconds, bool) or not isinstance(retry_seconds, int | float) or not 0 <= retry_seconds < inf:
        raise OptionError(f"option 'retry_seconds' must be a number of seconds, 0 or more, got {retry_seconds!r}")
    if credentials is not None and not (isinstance(credentials, str) and _REFERENCE.fullmatch(credentials)):
        raise OptionError(
            "option 'credentials' must be 'env:PREFIX_' or 'package.module:function', where credentials are found; "
            "literal ones are the options 'key' and 'secret'"
        )
    secrets = _checked_literal(literal)
    if secrets and (credentials or profile):
        raise OptionError("option 'key' is for use without 'credentials' and 'profile'")
    return S3Settings(
        bucket,
        prefix,
        endpoint_url,
        region,
        profile,
        credentials,
        _checked_options(options),
        workers,
        retry_seconds,
        secrets,
    )


def options_of_s3fs(s3fs: object) -> dict[str, Any]:
    """Return the options that the original's `s3fs={...}` stands for.

    Raises:
        OptionError: it cannot be used.
    """
    if not isinstance(s3fs, Mapping):
        raise OptionError("option 's3fs' must be a mapping with 'key', 'secret' and 'endpoint_url'")
    _refuse_unknown("'s3fs'", s3fs, _S3FS)
    found = {name: value for name, value in s3fs.items() if name != "client_kwargs"}
    client = s3fs.get("client_kwargs", {})
    if not isinstance(client, Mapping):
        raise OptionError("'client_kwargs' in option 's3fs' must be a mapping")
    _refuse_unknown("'client_kwargs' of 's3fs'", client, ("endpoint_url", "region_name"))
    if "endpoint_url" in client:
        found["endpoint_url"] = client["endpoint_url"]
    if "region_name" in client:
        found["region"] = client["region_name"]
    return found


def _refuse_unknown(where: str, given: Mapping[str, Any], known: tuple[str, ...]) -> None:
    for name in given:
        if name not in known:
            hint = did_you_mean(str(name), known)
            raise OptionError(f"option {where} knows {', '.join(map(repr, known))}, not {name!r}{hint}")


def _bucket_and_prefix(path: object) -> tuple[str, str]:
    text = path.removeprefix("s3://").strip("/") if isinstance(path, str) else ""
    bucket, _, prefix = text.partition("/")
    if not _BUCKET.fullmatch(bucket):
        raise OptionError(f"option 'path' must look like '/bucket/prefix', got {path!r}")
    if prefix and any(part in ("", ".", "..") or not part.isprintable() for part in prefix.split("/")):
        raise OptionError(f"option 'path' must have a plain name between slashes, got {path!r}")
    return bucket, f"{prefix}/" if prefix else ""


def _checked_literal(literal: Mapping[str, str | None]) -> tuple[tuple[str, str], ...]:
    given = {name: value for name, value in literal.items() if value is not None}
    for name, value in given.items():
        if not isinstance(value, str) or not value:
            raise OptionError(f"option {name!r} must be a string that is not empty")  # never show the value
    if given and not given.keys() >= {"key", "secret"}:
        raise OptionError(f"options 'key' and 'secret' go together, got only {', '.join(map(repr, given))}")
    return tuple(sorted((_SECRETS[name], value) for name, value in given.items()))


def _checked_options(options: object) -> str:
    if options is None:
        return "{}"
    if not isinstance(options, Mapping):
        raise OptionError(f"option 'options' must be a mapping of botocore's Config, got {type(options).__name__}")
    try:
        text = json.dumps(dict(options), sort_keys=True)
    except (TypeError, ValueError) as error:
        raise OptionError(f"option 'options' must be what JSON can hold: {error}") from error
    if re.search(r"://[^/\"]*@", text):
        raise OptionError("option 'options' must not hold a password; botocore reads proxies from HTTPS_PROXY")
    return text


def _from_environment(prefix: str) -> dict[str, str]:
    found = {name: os.environ[prefix + end] for end, name in _VARIABLES.items() if prefix + end in os.environ}
    for end in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY"):
        if _VARIABLES[end] not in found:
            raise StorageError(f"credentials: environment variable {prefix + end!r} is not set")
    return found


def _from_function(module: str, function: str) -> dict[str, Any]:
    try:
        found = getattr(importlib.import_module(module), function)()
    except (ImportError, AttributeError) as error:
        raise StorageError(f"credentials: cannot use '{module}:{function}': {error}") from error
    known = {**_SECRETS, **{name: name for name in _SECRETS.values()}, "expiry": "expiry"}
    if isinstance(found, Mapping) and found.keys() <= known.keys():
        credentials = {known[name]: value for name, value in found.items()}
        if credentials.keys() >= {"aws_access_key_id", "aws_secret_access_key"}:
            return credentials
    raise StorageError(
        f"credentials: '{module}:{function}' must return a mapping with 'key', 'secret', and maybe 'token', 'expiry'"
    )
