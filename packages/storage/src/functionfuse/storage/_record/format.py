"""The bytes of a record, version 1.

::

    0   prefix      magic, version, oldest release that can read it
    16  segment 0   pickle, protocol 5
        segments    buffers of 64 KiB and more, each at a multiple of 64 bytes
        footer      JSON: what the record is, where the segments are, a crc32 for each of their blocks
        trailer     where the footer is, crc32 over prefix, footer and trailer, flags, signature, end magic

The footer comes last, so that one pass writes a record to a file or to an upload, a truncated record shows
itself, and the end of a record alone says what it contains. The trailer's flags repeat the versions of the
prefix for those who read only the end.

A store that cannot publish much in one exclusive step puts prefix and segments into a blob. The record is then
a prefix, the footer and the trailer, and `content` in the footer names the blob.
"""

from __future__ import annotations

import hmac
import json
import struct
import zlib
from typing import Any, NotRequired, TypedDict, cast

from functionfuse.errors import BadSignature, CorruptRecord, OptionError, UnsupportedRecord

MAGIC = b"\x89FFR\r\n\x1a\n"
END = b"FFRend\r\n"
VERSION = 1
OLDEST = 1
PREFIX = struct.Struct("<8sHHI")  # magic, version, oldest reader, 0
TRAILER = struct.Struct("<QQQII32s8s")  # footer offset and length, size, crc32, flags, signature, end magic
BLOCK = 8 << 20  # bytes under one crc32
ALIGN = 64
OUT_OF_BAND = 1 << 16  # smaller buffers stay in the pickle
TAIL = 8192  # bytes from the end that hold the footer of nearly every record

_SIGNED = 1
_JSON = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False)


class BlobEntry(TypedDict):
    """A blob that a record refers to; the size is in bytes."""

    id: str
    size: int


class Footer(TypedDict):
    """What a record says of itself; `info` returns it."""

    name: str
    workflow: str
    uid: str
    created: float
    recipe: dict[str, str] | None
    type: str
    python: str
    byteorder: str
    packages: dict[str, str]
    by_value: list[str]
    block: int
    segs: list[list[Any]]  # offset, length, and the crc32 of each block
    serializers: dict[str, int]
    blobs: list[BlobEntry]
    meta: dict[str, Any]
    shape: NotRequired[list[int | None]]  # of arrays and tables; None for sizes not known yet
    sha256: NotRequired[str]
    content: NotRequired[str]  # the blob that holds prefix and segments
    content_digest: NotRequired[str]  # xxh3, 128 bits, of all segments; not of what has blobs of serializers
    has_code: NotRequired[bool]  # code of the project, whose changes the digest of the content need not tell
    shared: NotRequired[bool]  # a result that its recipe finds: its blobs are beside it, whatever its names
    result: NotRequired[str]  # of a reference: the stem of that result
    equals: NotRequired[str]  # of an entry in `.same`: its stem


_REQUIRED = Footer.__annotations__.keys() - {
    "shape", "sha256", "content", "content_digest", "has_code", "shared", "result", "equals"
}  # fmt: skip


def pack_prefix(version: int = VERSION, oldest: int = OLDEST) -> bytes:
    """Return the first 16 bytes of a record.

    Args:
        version: of the format.
        oldest: version that can read it.
    """
    return PREFIX.pack(MAGIC, version, oldest, 0)


def pack_footer(footer: Footer, offset: int, key: bytes | None) -> bytes:
    """Return footer and trailer of a record.

    Args:
        footer: of the record.
        offset: where the footer starts.
        key: to sign with; None for no signature.

    Raises:
        OptionError: `meta` is not made of what JSON can hold.
    """
    try:
        text = _JSON.encode(footer)
    except (TypeError, ValueError) as error:
        raise OptionError(f"meta must be made of what JSON can hold: {error}") from error
    # Two lone surrogates must come back as two, not as the one character they would make in JSON.
    body = text.encode("utf-8", "surrogatepass")
    flags = (_SIGNED if key else 0) | OLDEST << 8 | VERSION << 16
    signature = hmac.digest(key, body, "sha256") if key else bytes(32)
    span = (offset, len(body), offset + len(body) + TRAILER.size)
    blank = TRAILER.pack(*span, 0, flags, signature, END)
    crc = zlib.crc32(blank, zlib.crc32(body, zlib.crc32(pack_prefix())))
    return body + TRAILER.pack(*span, crc, flags, signature, END)


def tail_length(tail: bytes | memoryview, size: int) -> int:
    """Return how many bytes from the end of a record hold footer and trailer.

    Args:
        tail: bytes from the end of the record.
        size: of the record in bytes.

    Raises:
        CorruptRecord: the record is truncated.
    """
    if len(tail) < TRAILER.size or tail[-len(END) :] != END:
        raise CorruptRecord("no end mark: truncated, or not a record")
    offset, length, total, *_ = TRAILER.unpack(tail[-TRAILER.size :])
    if total != size or offset + length + TRAILER.size != total or offset < PREFIX.size:
        raise CorruptRecord(f"{size} bytes long where the trailer says {total}")
    return cast("int", length) + TRAILER.size


def unpack_footer(tail: bytes | memoryview, key: bytes | None) -> Footer:
    """Return the footer of a record.

    Args:
        tail: as many bytes from the end of the record as `tail_length` returned.
        key: that the record must be signed with; None accepts any.

    Raises:
        CorruptRecord: footer or trailer are damaged.
        UnsupportedRecord: the format is newer than this release.
        BadSignature: the record is not signed with the key.
    """
    body = tail[: -TRAILER.size]
    offset, length, total, crc, flags, signature, end = TRAILER.unpack(tail[-TRAILER.size :])
    version, oldest = _versions(flags)
    blank = TRAILER.pack(offset, length, total, 0, flags, signature, end)
    if crc != zlib.crc32(blank, zlib.crc32(body, zlib.crc32(pack_prefix(version, oldest)))):
        raise CorruptRecord("footer or trailer damaged: checksum mismatch")
    if oldest > VERSION:
        raise UnsupportedRecord(f"record format {version} is newer than this release, which reads {VERSION}")
    if key is not None and not (flags & _SIGNED and hmac.compare_digest(hmac.digest(key, body, "sha256"), signature)):
        raise BadSignature("not signed with this store's key")
    return _parsed(bytes(body))


def check_prefix(head: bytes | memoryview, tail: bytes | memoryview) -> None:
    """Check that the first bytes of a record match its last ones, which have been checked already.

    Args:
        head: the first bytes.
        tail: the last bytes.

    Raises:
        CorruptRecord: they differ.
    """
    flags = TRAILER.unpack(tail[-TRAILER.size :])[4]
    if head != pack_prefix(*_versions(flags)):
        raise CorruptRecord("the first bytes are damaged, or not those of a record")


def _versions(flags: int) -> tuple[int, int]:
    """Return the version of a record, and the oldest release that can read it."""
    return flags >> 16, flags >> 8 & 0xFF


def _parsed(body: bytes) -> Footer:
    try:
        footer = json.loads(body.decode("utf-8", "surrogatepass"))
    except (ValueError, RecursionError) as error:
        raise CorruptRecord(f"footer is not JSON: {error}") from error
    if not isinstance(footer, dict) or not footer.keys() >= _REQUIRED:
        raise CorruptRecord("footer has not all the keys that every record has")
    return cast("Footer", footer)
