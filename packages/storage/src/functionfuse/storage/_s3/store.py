"""The store in a bucket."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from functionfuse.errors import OptionError

from .._object.transport import ObjectTransport
from .._record.signing import check_reference, load_key
from .._store.collecting import check_keep_runs, check_max_size
from .._store.store import RecordStore
from .client import S3Client
from .settings import make_settings, options_of_s3fs

if TYPE_CHECKING:
    from collections.abc import Mapping


_DEFAULTS = {"workers": 4, "anon": False, "verify": True}


class S3Store(RecordStore):
    """Keeps results in a bucket of S3, or of a server that speaks its protocol. Needs boto3.

    Args:
        path: `"/bucket/prefix"`; the bucket must be there.
        endpoint_url: of a server that is not Amazon's, like `"http://127.0.0.1:8333"`.
        region: where the bucket is; else what the AWS configuration says.
        profile: of the AWS configuration.
        credentials: where credentials are found, in every process anew: `"env:PREFIX_"` for the variables
            `PREFIX_ACCESS_KEY_ID`, `PREFIX_SECRET_ACCESS_KEY` and `PREFIX_SESSION_TOKEN`, or
            `"package.module:function"` for a function that returns `{"key": ..., "secret": ...}`, maybe with
            `"token"`. It is called again some minutes before the time in `"expiry"`, if it returns one, else
            when the server says that the credentials have expired. Without this option boto3 looks where it
            always does.
        options: for botocore's `Config`, like `{"request_checksum_calculation": "when_required"}`.
        workers: parts, or ranges, of one result that are transferred at the same time.
        retry_seconds: how long a request is retried that the server throttles, or that gets no response, once the
            store is made; 0 leaves it to botocore, which gives up after a second or two.
        sign_key: as for the file store.
        keep_runs: as for the file store.
        max_size: as for the file store.
        key: a literal access key, with `secret` and maybe `token`. Such a store cannot be pickled, and
            `config()` leaves them out.
        secret: see `key`.
        token: see `key`.
        s3fs: the original's spelling, `{"key": ..., "secret": ..., "endpoint_url": ...}`: options of s3fs that this
            store has too.
        anon: send requests that are not signed, to a bucket that everybody may use.
        verify: whether the certificate of the server is verified, or the path of a file with those to trust.

    Raises:
        OptionError: an argument cannot be used.
        StorageError: endpoint, bucket or credentials cannot be used, or boto3 is missing.
    """

    def __init__(
        self,
        path: str,
        *,
        endpoint_url: str | None = None,
        region: str | None = None,
        profile: str | None = None,
        credentials: str | None = None,
        options: Mapping[str, Any] | None = None,
        workers: int = 4,
        retry_seconds: float = 300.0,
        sign_key: str | None = None,
        keep_runs: int | None = 10,
        max_size: int | str | None = None,
        key: str | None = None,
        secret: str | None = None,
        token: str | None = None,
        s3fs: Mapping[str, Any] | None = None,
        anon: bool = False,
        verify: bool | str = True,
    ) -> None:
        given: dict[str, Any] = {
            "endpoint_url": endpoint_url,
            "region": region,
            "profile": profile,
            "options": options,
            "workers": workers,
            "anon": anon,
            "verify": verify,
            "key": key,
            "secret": secret,
            "token": token,
        }
        for name, value in options_of_s3fs({} if s3fs is None else s3fs, endpoint_url).items():
            if given[name] not in (None, _DEFAULTS.get(name)):
                raise OptionError(f"option {name!r} is given twice, by itself and in 's3fs'")
            given[name] = value
        literal = {name: given.pop(name) for name in ("key", "secret", "token")}
        check_reference(sign_key)
        check_keep_runs(keep_runs)
        check_max_size(max_size)
        load_key(sign_key)  # better now than after the first long task
        self._settings = make_settings(
            path, **given, credentials=credentials, retry_seconds=retry_seconds, literal=literal
        )
        transport = ObjectTransport(S3Client(self._settings), self._settings.prefix)
        super().__init__(transport, sign_key=sign_key, keep_runs=keep_runs, max_size=max_size)
        self._own_options = {"sign_key": sign_key, "keep_runs": keep_runs, "max_size": max_size}

    @property
    def path(self) -> str:
        """Bucket and prefix."""
        return self._settings.path

    def __repr__(self) -> str:
        return f"S3Store({self.path!r}, endpoint_url={self._settings.endpoint_url!r})"

    def config(self) -> dict[str, Any]:
        """Return what `storage_factory` makes this store from again; JSON, without secrets."""
        settings = self._settings
        options = {
            "path": settings.path,
            "endpoint_url": settings.endpoint_url,
            "region": settings.region,
            "profile": settings.profile,
            "credentials": settings.credentials,
            "options": json.loads(settings.options),
            "workers": settings.workers,
            "retry_seconds": settings.retry_seconds,
            "anon": settings.anon,
            "verify": settings.verify,
            **self._own_options,
        }
        return {"kind": "S3", "options": options}
