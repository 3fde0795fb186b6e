"""Names that serializers written for the original Function Fuse import from here."""

from __future__ import annotations

import uuid

from functionfuse.storage._serialize.original import FILE_PROTOCOL, S3_PROTOCOL

__all__ = ["FILE_PROTOCOL", "S3_PROTOCOL", "generate_name"]


def generate_name() -> str:
    """Return a new name for a file."""
    return str(uuid.uuid4())
