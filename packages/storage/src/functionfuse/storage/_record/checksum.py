"""The crc32 of zlib: from zlib-ng where it is installed, which makes the same number several times as fast."""

from __future__ import annotations

__all__ = ["crc32"]

try:
    from zlib_ng.zlib_ng import crc32
except ImportError:
    from zlib import crc32
