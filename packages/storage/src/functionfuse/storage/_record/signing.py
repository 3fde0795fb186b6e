"""Where the key of signed records comes from; a store keeps the reference, never the key."""

from __future__ import annotations

import os
from pathlib import Path

from functionfuse.errors import OptionError, StorageError

SHORTEST = 32  # bytes


def check_reference(reference: object) -> None:
    """Check that an object can be a reference to a key.

    Raises:
        OptionError: it is none.
    """
    if reference is None:
        return
    kind, _, target = reference.partition(":") if isinstance(reference, str) else ("", "", "")
    if kind not in ("env", "file") or not target:
        # The value is not shown: it may be a key, given by mistake.
        raise OptionError(
            "option 'sign_key' must be 'env:VARIABLE' or 'file:/path', a reference to a key and not the key"
        )


def load_key(reference: str | None) -> bytes | None:
    """Return the key that a reference points to, or None when records are not signed.

    Raises:
        StorageError: there is no key, or one shorter than 32 bytes.
    """
    if reference is None:
        return None
    kind, _, target = reference.partition(":")
    try:
        key = os.fsencode(os.environ[target]) if kind == "env" else Path(target).read_bytes().strip()
    except KeyError:
        raise StorageError(f"sign_key: environment variable {target!r} is not set") from None
    except OSError as error:
        raise StorageError(f"sign_key: cannot read {target!r}: {error.strerror}") from error
    if len(key) < SHORTEST:
        raise StorageError(f"sign_key: the key in {reference!r} has {len(key)} bytes, {SHORTEST} are needed")
    return key
