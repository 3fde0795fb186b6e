"""Where a bucket is, and where the credentials for it are found: what an S3 store is made from."""

from __future__ import annotations

import importlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

from functionfuse._suggestions import did_you_mean
from functionfuse.errors import OptionError, StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]")
_ENDPOINT = re.compile(r"https?://[^/@\s]+(/[^@\s]*)?")
_REFERENCE = re.compile(r"env:\w*|\w+(\.\w+)*:\w+")
_SECRETS = {"key": "aws_access_key_id", "secret": "aws_secret_access_key", "token": "aws_session_token"}
_VARIABLES = {
    "ACCESS_KEY_ID": "aws_access_key_id",
    "SECRET_ACCESS_KEY": "aws_secret_access_key",
    "SESSION_TOKEN": "aws_session_token",
}
# Options of s3fs, and arguments of boto3's client among them, with the option of this store that each stands for.
_S3FS = {
    "anon": "anon",
    "config_kwargs": "options",
    "endpoint_url": "endpoint_url",
    "key": "key",
    "max_concurrency": "workers",
    "password": "secret",
    "profile": "profile",
    "secret": "secret",
    "token": "token",
    "username": "key",
}
_CLIENT = {
    "aws_access_key_id": "key",
    "aws_secret_access_key": "secret",
    "aws_session_token": "token",
    "endpoint_url": "endpoint_url",
    "region_name": "region",
    "verify": "verify",
}


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
    anon: bool = False
    verify: bool | str = True
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
    anon: bool,
    verify: bool | str,
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
        anon: whether requests are not signed.
        verify: whether the certificate of the server is verified, or a file with those to trust.
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
    if not isinstance(anon, bool):
        raise OptionError(f"option 'anon' must be True or False, got {anon!r}")
    if anon and (secrets or credentials or profile):
        raise OptionError("option 'anon' is for use without 'key', 'credentials' and 'profile'")
    if not isinstance(verify, bool) and not (isinstance(verify, str) and Path(verify).exists()):
        raise OptionError(f"option 'verify' must be True, False or the path of certificates, got {verify!r}")
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
        anon,
        verify,
        secrets,
    )


def options_of_s3fs(s3fs: object, endpoint_url: str | None = None) -> dict[str, Any]:
    """Return the options that the original's `s3fs={...}` stands for.

    Args:
        s3fs: options of s3fs.
        endpoint_url: the store's own option, for one that `s3fs` does not have.

    Raises:
        OptionError: it cannot be used.
    """
    if not isinstance(s3fs, Mapping):
        raise OptionError("option 's3fs' must be a mapping with 'key', 'secret' and 'endpoint_url'")
    given = dict(s3fs)
    client = given.pop("client_kwargs", None) or {}
    if not isinstance(client, Mapping):
        raise OptionError("'client_kwargs' in option 's3fs' must be a mapping")
    client = dict(client)
    encrypted = [mapping.pop("use_ssl") for mapping in (client, given) if "use_ssl" in mapping]
    translated = [
        *_translated("'s3fs'", given, _S3FS, ("client_kwargs", "use_ssl")),
        *_translated("'client_kwargs' of 's3fs'", client, _CLIENT, ("use_ssl",)),
    ]
    found: dict[str, Any] = {}
    for name, value in translated:
        if value is not None and found.setdefault(name, value) != value:
            raise OptionError(f"option 's3fs' gives {name!r} twice, with different values")
    # boto3 goes by the address of the server, where one is given.
    if False in encrypted and not (found.get("endpoint_url") or endpoint_url):
        raise OptionError("'use_ssl' in option 's3fs' is what 'endpoint_url' says: give one that begins with 'http://'")
    return found


def _translated(
    where: str, given: Mapping[str, Any], names: Mapping[str, str], others: tuple[str, ...]
) -> Iterator[tuple[str, Any]]:
    """Yield the options of the store that others stand for, with their values."""
    for name, value in given.items():
        if name not in names:
            known = sorted((*names, *others))
            hint = did_you_mean(str(name), known)
            raise OptionError(f"option {where} knows {', '.join(map(repr, known))}, not {name!r}{hint}")
        yield names[name], value


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
