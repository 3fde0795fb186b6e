"""Serializers for data of other libraries: dask arrays, text in DataFrames, torch tensors.

All are found without being registered, where their library is installed. The two names are for serializers that were
written for the original Function Fuse.
"""

from __future__ import annotations

from functionfuse.serializers.base import FILE_PROTOCOL, S3_PROTOCOL

__all__ = ["FILE_PROTOCOL", "S3_PROTOCOL"]
