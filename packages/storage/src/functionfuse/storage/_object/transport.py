"""Records and blobs as objects; `functionfuse.storage._store.layout` shows their keys.

A record becomes visible atomically, by its one write or by the end of its multipart upload.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from functionfuse.errors import CorruptRecord, StorageError

from .._store.drafts import is_live, is_stale
from .._store.layout import BLOBS, DRAFTS, RECORD, WORKFLOW
from .._store.parallel import in_threads
from .._store.transport import Absent, Use
from .blobs import ObjectBlobs
from .client import UploadMissing
from .download import read_end, read_whole
from .publication import Publication
from .root import open_root
from .writes import put

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Set

    from .._store.transport import Blobs, Link, Sink
    from .client import ObjectClient

T = TypeVar("T")

_TRIES = 5
_FEW = 10  # keys that tell whether a folder is empty
_FEW_RECORDS = 100  # that are looked up one by one sooner than by a listing


class ObjectTransport:
    """The objects whose keys start with a prefix; `Transport` describes the methods.

    Args:
        client: of the object store.
        prefix: empty, or with a slash at its end.

    Raises:
        StorageError: server, bucket or credentials cannot be used.
    """

    fold = False

    def __init__(self, client: ObjectClient, prefix: str) -> None:
        self.client = client
        self.prefix = prefix
        self.conditional = open_root(client, prefix)
        """Whether the server honours conditional writes."""

    # Folders

    def make_folder(self, folder: str) -> None:
        put(self.client, f"{self._folder(folder)}{WORKFLOW}", bytearray())

    def folders(self) -> list[str]:  # some servers keep the names of empty ones
        found = [name for name in self.client.list_folders(self.prefix) if not name.startswith(".")]
        with ThreadPoolExecutor(self.client.workers) as pool:
            return [name for name, exists in zip(found, pool.map(self._exists, found), strict=True) if exists]

    def remove_folder(self, folder: str) -> bool:
        existed = self._exists(folder)
        prefix = self._folder(folder)
        keys = [entry.key for entry in self.client.list_objects(prefix)]
        visible = [key for key in keys if not key.startswith((f"{prefix}{BLOBS}/", f"{prefix}{DRAFTS}/"))]
        self.client.delete_many(visible)
        self.client.delete_many(set(keys).difference(visible))
        return existed

    # Records

    def stems(self, folder: str, prefix: str = "") -> list[str]:
        start = len(self._folder(folder))
        found = self.client.list_objects(f"{self._folder(folder)}{prefix}", nested=False)
        return [entry.key[start : -len(RECORD)] for entry in found if entry.key.endswith(RECORD)]

    def present(self, folder: str, stems: Collection[str]) -> Set[str]:
        if len(stems) > _FEW_RECORDS:
            return set(self.stems(folder)).intersection(stems)
        return self.identities(folder, stems).keys()

    def identities(self, folder: str, stems: Iterable[str] | None = None) -> Mapping[str, Hashable]:
        if stems is not None:
            asked = list(stems)
            heads = in_threads(lambda stem: self.client.head(self._key(folder, stem)), asked)
            return {stem: head.version for stem, head in zip(asked, heads, strict=True) if head is not None}
        start, cut = len(self._folder(folder)), -len(RECORD)
        found = self.client.list_objects(self._folder(folder), nested=False)
        return {entry.key[start:cut]: entry.version for entry in found if entry.key.endswith(RECORD)}

    def uses(self, folder: str, prefix: str = "") -> Mapping[str, Use]:
        start, cut = len(self._folder(folder)), -len(RECORD)
        found = self.client.list_objects(f"{self._folder(folder)}{prefix}", nested=False)
        return {
            entry.key[start:cut]: Use(entry.version, entry.size, entry.modified)
            for entry in found
            if entry.key.endswith(RECORD)
        }

    def mark_used(self, folder: str, stem: str) -> bool:  # noqa: ARG002
        return True

    def remove_unused(self, folder: str, uses: Mapping[str, Use]) -> Set[str]:
        listed = self.uses(folder) if len(uses) > _FEW_RECORDS else None
        removed: set[str] = set()
        for stem in sorted(uses):
            if stem in removed:
                continue
            now = self.uses(folder, stem) if listed is None else listed
            group = {one: use for one, use in now.items() if one == stem or one.startswith(f"{stem}@")}
            if group and all(uses.get(one) == use for one, use in group.items()):
                self.client.delete(self._key(folder, stem))
                self.client.delete_many([self._key(folder, one) for one in group if one != stem])
                removed.update(group)
        return removed

    def location(self, folder: str, stem: str) -> str:
        return self.client.address(self._key(folder, stem))

    def tail(self, folder: str, stem: str, length: int) -> tuple[bytes, int]:
        return read_end(self.client, self._key(folder, stem), length)

    def whole(self, folder: str, stem: str) -> memoryview:
        return read_whole(self.client, self._key(folder, stem))

    def publish(
        self,
        folder: str,
        stem: str,
        fill: Callable[[Sink, Blobs], T],
        *,
        may_replace: Callable[[], bool],
        create: bool,
        link: Link | None = None,
    ) -> T:
        key = self._key(folder, stem)
        if create and not self.conditional:
            raise StorageError(
                f"cannot create {self.client.address(key)!r}: this server ignores If-None-Match, so that two "
                "writers could both win; save without create=True"
            )
        for _ in range(_TRIES):
            publication = Publication(
                self.client,
                self._folder(folder),
                key,
                blobs=self.blobs(folder),
                conditional=self.conditional,
                may_replace=may_replace,
                create=create,
            )
            with suppress(UploadMissing):
                result = publication.run(fill)
                if link is not None and publication.small:
                    put(self.client, self._key(link.folder, link.stem), publication.small)
                    link.is_made = True
                return result
        raise StorageError(f"cannot write {self.client.address(key)!r}: gc with a short grace keeps interfering")

    def link(self, folder: str, stem: str, link: Link) -> None:
        pass  # a copy would not be free of cost

    def remove(self, folder: str, stem: str) -> None:
        self.client.delete(self._key(folder, stem))

    # Blobs and leftovers

    def blobs(self, folder: str) -> ObjectBlobs:
        return ObjectBlobs(self.client, f"{self._folder(folder)}{BLOBS}/")

    def content(self, folder: str, blob: str) -> memoryview:
        key = f"{self._folder(folder)}{BLOBS}/{blob}"
        try:
            return read_whole(self.client, key)
        except Absent:
            raise CorruptRecord(f"blob {self.client.address(key)!r} is missing") from None

    def blob_ages(self, folder: str) -> list[tuple[str, float]]:
        ages: dict[str, float] = {}
        for name, age in self._ages(folder, BLOBS):
            blob = name.partition("/")[0]
            ages[blob] = min(age, ages.get(blob, age))
        return list(ages.items())

    def size_of_blobs(self, folder: str) -> int:
        return sum(entry.size for entry in self.client.list_objects(f"{self._folder(folder)}{BLOBS}/"))

    def remove_blobs(self, folder: str, blobs: Iterable[str]) -> None:
        with suppress(StorageError):  # what stays is unreferenced: garbage for gc, never wrong
            self.blobs(folder).remove(list(blobs))

    def is_writing(self, folder: str) -> bool:
        return any(is_live(name, age) for name, age in self._ages(folder, DRAFTS))

    def sweep(self, folder: str, grace: float, *, dry_run: bool = False) -> list[str]:
        start = self._folder(folder)
        latest = time.time() - grace
        swept = []
        for unfinished in [one for one in self.client.list_uploads(start) if one.started <= latest]:
            if not dry_run:
                self.client.abort_upload(unfinished.key, unfinished.upload)
            swept.append(unfinished.key[len(start) :])
        drafts = [name for name, age in self._ages(folder, DRAFTS) if is_stale(name, age, grace)]
        if not dry_run:
            self.client.delete_many([f"{start}{DRAFTS}/{name}" for name in drafts])
        return swept + drafts

    # Keys

    def _folder(self, folder: str) -> str:
        return f"{self.prefix}{folder}/"

    def _key(self, folder: str, stem: str) -> str:
        return f"{self.prefix}{folder}/{stem}{RECORD}"

    def _exists(self, folder: str) -> bool:
        found = self.client.list_objects(self._folder(folder), nested=False, page=_FEW)
        return any(entry.key.endswith((RECORD, f"/{WORKFLOW}")) for entry in found)

    def _ages(self, folder: str, kind: str) -> list[tuple[str, float]]:
        start = f"{self._folder(folder)}{kind}/"
        now = time.time()
        found = list(self.client.list_objects(start))
        return [(entry.key[len(start) :], max(0.0, now - entry.modified)) for entry in found]
