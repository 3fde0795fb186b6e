"""Check and load one record that is in memory, or mapped."""

from __future__ import annotations

import hashlib
import os
import pickle
import platform
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from functionfuse.errors import BadSignature, CorruptRecord, StorageError

from .checksum import crc32
from .format import PREFIX, TAIL, Footer, check_prefix, tail_length, unpack_footer
from .restore import restoring

if TYPE_CHECKING:
    from collections.abc import Callable

    from .._serialize.serializers import SerializerRegistry
    from .._store.transport import BlobReader

THREADS = max(1, min(4, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1))
_TRIES = 3
_FEW = 4  # blocks that are checked sooner than threads start


def footer_of(record: memoryview, key: bytes | None) -> Footer:
    """Return the footer of a whole record.

    Args:
        record: all bytes of the record.
        key: that the record must be signed with; None accepts any.

    Raises:
        CorruptRecord: the record is damaged or truncated.
    """
    length = tail_length(record[-TAIL:], len(record))
    footer = unpack_footer(record[-length:], key)
    check_prefix(record[: PREFIX.size], record[-length:])
    return footer


def read_record(
    fetch: Callable[[], tuple[memoryview, Footer]],
    registry: SerializerRegistry,
    blobs_of: Callable[[Footer], BlobReader],
) -> Any:
    """Return the object in a record, from the same moment as its blobs.

    Args:
        fetch: returns record and footer.
        registry: of the serializers.
        blobs_of: returns access to the blobs of a record.

    Raises:
        CorruptRecord: the record is damaged, or a blob is missing.
        StorageError: the record is replaced again and again.
    """
    seen = None
    for _ in range(_TRIES):
        record, footer = fetch()
        blobs = blobs_of(footer)
        try:
            return load_record(record, footer, registry, blobs)
        except Exception as error:
            missing = missing_blob(blobs, footer)
            if missing is None:
                raise
            if footer["blobs"] == seen:
                raise missing from error
            seen = footer["blobs"]  # was the record replaced while it was read, and its blobs with it?
    raise StorageError(f"result {footer['name']!r} of workflow {footer['workflow']!r} is replaced faster than read")


def check_content(content: memoryview, record: memoryview, footer: Footer) -> None:
    """Check that a blob is the content of a record, as far as checksums do not cover it.

    Args:
        content: all bytes of the blob.
        record: all bytes of the record.
        footer: of the record.

    Raises:
        CorruptRecord: it is another content.
    """
    sizes = {blob["id"]: blob["size"] for blob in footer["blobs"]}
    if sizes.get(footer["content"]) != len(content) or content[: PREFIX.size] != record[: PREFIX.size]:
        raise CorruptRecord(f"blob {footer['content']!r} is not the content that was written")


def load_record(record: memoryview, footer: Footer, registry: SerializerRegistry, blobs: BlobReader) -> Any:
    """Return the object in a record that has been checked.

    Serializers are looked up before anything is unpickled. Whatever unpickling raises passes through, with a
    note on what saved the record.

    Args:
        record: all bytes of the record.
        footer: of the record.
        registry: of the serializers.
        blobs: of the workflow.

    Raises:
        MissingSerializer: the record needs one that is neither registered nor installed.
    """
    for name in footer["serializers"]:
        registry.named(name)
    views = [record[start : start + length] for start, length, _ in footer["segs"]]
    try:
        with restoring(registry, blobs):
            return pickle.loads(views[0], buffers=views[1:])
    except (StorageError, MemoryError):
        raise
    except Exception as error:
        error.add_note(_origin(footer))
        raise


def verify(record: memoryview, footer: Footer) -> None:
    """Compare every block of a record with its checksum.

    Args:
        record: all bytes of the record.
        footer: of the record.

    Raises:
        CorruptRecord: a block is damaged.
    """
    blocks = _blocks(record, footer)
    if len(blocks) <= _FEW or THREADS == 1:
        for block in blocks:
            _check_block(*block)
        return
    with ThreadPoolExecutor(THREADS) as pool:
        for _ in pool.map(lambda block: _check_block(*block), blocks):
            pass


def missing_blob(blobs: BlobReader, footer: Footer) -> CorruptRecord | None:
    """Return an error about a blob that the record refers to and that is missing; None when all exist.

    Args:
        blobs: of the workflow.
        footer: of the record.
    """
    try:
        for blob in footer["blobs"]:
            blobs.size(blob["id"])
    except CorruptRecord as error:
        return error
    return None


def verify_digest(record: memoryview, footer: Footer) -> None:
    """Compare all segments of a record with the digest that was signed.

    Args:
        record: all bytes of the record.
        footer: of the record.

    Raises:
        BadSignature: the content is another one.
    """
    digest = hashlib.sha256()
    for start, length, _ in footer["segs"]:
        digest.update(record[start : start + length])
    if digest.hexdigest() != footer.get("sha256"):
        raise BadSignature("content is not what was signed")


def _blocks(record: memoryview, footer: Footer) -> list[tuple[memoryview, int, int, int]]:
    size = footer["block"]
    blocks = []
    for number, (start, length, crcs) in enumerate(footer["segs"]):
        if start + length > len(record) or len(crcs) != -(-length // size):
            raise CorruptRecord("segments do not fit the record")
        for crc, offset in zip(crcs, range(start, start + length, size), strict=True):
            block = record[offset : min(offset + size, start + length)]
            blocks.append((block, crc, number, offset))
    return blocks


def _check_block(block: memoryview, crc: int, segment: int, offset: int) -> None:
    if crc32(block) != crc:
        raise CorruptRecord(f"checksum mismatch in segment {segment} at byte {offset}")


def _origin(footer: Footer) -> str:
    packages = ", ".join(f"{name} {version}" for name, version in footer["packages"].items())
    note = (
        f"while loading result {footer['name']!r} of workflow {footer['workflow']!r}, "
        f"saved by Python {footer['python']} with {packages or 'none of the known packages'}; "
        f"this is Python {platform.python_version()}"
    )
    if footer["by_value"]:
        note += f"; its code is part of the record: {', '.join(footer['by_value'])}"
    return note
