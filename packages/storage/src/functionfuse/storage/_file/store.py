"""The store in a folder."""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import unquote, urlsplit

from functionfuse.errors import OptionError

from .._record.signing import check_reference, load_key
from .._store.collecting import check_keep_runs, check_max_size
from .._store.store import RecordStore
from .transport import FileTransport


class FileStore(RecordStore):
    """Keeps results in files, readable by any process that sees the folder.

    Args:
        path: the folder, made when it is not there; a relative path is taken from where the process is now.
        durable: survive a power cut, for about 0.4 ms a result. Without it a cut may lose the last results;
            they are never damaged unnoticed.
        mmap: map results of 1 MiB and more instead of reading them. What is loaded can be written to, the
            file stays as it is. Not done on Windows, network file systems, and for signed stores.
        sign_key: `"env:VARIABLE"` or `"file:/path"`: where to find a key of at least 32 bytes. Results
            are signed with it, and others are refused.
        keep_runs: results that no name has any more are kept that the last runs of each workflow had, this number
            of them; None keeps all. See `gc`; runs remove others when they end, at most once an hour.
        max_size: bytes, or text like `"10 GiB"`, that results may take; beyond that, those that no name has are
            removed though runs had them. None for no limit.

    Raises:
        OptionError: an argument cannot be used.
        StorageError: the path cannot be used.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        durable: bool = True,
        mmap: bool = True,
        sign_key: str | None = None,
        keep_runs: int | None = 10,
        max_size: int | str | None = None,
    ) -> None:
        check_flag("durable", durable)
        check_flag("mmap", mmap)
        check_reference(sign_key)
        check_keep_runs(keep_runs)
        check_max_size(max_size)
        load_key(sign_key)  # better now than after the first long task
        # Mapped bytes can change after their signature was checked.
        transport = FileTransport(
            _folder(path),
            durable=durable,
            mapping=mmap and sign_key is None,
        )
        super().__init__(transport, sign_key=sign_key, keep_runs=keep_runs, max_size=max_size)
        self._options = {
            "path": transport.path,
            "durable": durable,
            "mmap": mmap,
            "sign_key": sign_key,
            "keep_runs": keep_runs,
            "max_size": max_size,
        }

    @staticmethod
    def parse_location(location: str) -> dict[str, Any]:
        """Return the options that a location stands for: `"results"`, `"//localhost/data/results"`.

        Raises:
            OptionError: the location is on another host.
        """
        if not location.startswith("//"):
            return {"path": location}
        url = urlsplit(location)
        if url.netloc not in ("", "localhost"):
            raise OptionError(f"'file:{location}' names the host {url.netloc!r}; of this machine it is 'file:///path'")
        path = unquote(url.path)
        return {"path": path.lstrip("/") if os.name == "nt" else path}  # "/C:/data" there

    @property
    def path(self) -> str:
        """The folder, absolute."""
        return str(self._options["path"])

    def __repr__(self) -> str:
        return f"FileStore({self.path!r})"

    def config(self) -> dict[str, Any]:
        """Return what `storage_factory` makes this store from again; JSON, without secrets."""
        return {"kind": "file", "options": dict(self._options)}


def _folder(path: object) -> str:
    text = os.fspath(path) if isinstance(path, os.PathLike) else path
    if not isinstance(text, str) or not text:
        raise OptionError(f"option 'path' must be the path of a folder, got {path!r}")
    return os.path.abspath(os.path.expanduser(text))  # noqa: PTH100, PTH111  ".." goes, links stay


def check_flag(name: str, value: object) -> None:
    """Check that an option is True or False.

    Args:
        name: of the option.
        value: given for it.

    Raises:
        OptionError: it is anything else.
    """
    if not isinstance(value, bool):
        raise OptionError(f"option {name!r} must be True or False, got {value!r}")
