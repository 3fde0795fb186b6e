"""The layout of a store: names of its parts, the same in a folder and in a bucket.

::

    <root>/ffstore.json                             the marker: how names are kept
    <root>/.trash/<uuid>/                           in a folder: workflows that are being removed
    <root>/.results/<digest>.ffr                    records of results that have a recipe, by its digest
    <root>/.results/<digest>-state.ffr              those of states of stateful objects
    <root>/.results/<digest>@<name>.ffr             references to it, of names under which it was not saved
    <root>/.same/<digest>@<digest>.ffr              two recipes whose results have the same content
    <root>/.collected/last.ffr                      when a run last let the store collect results
    <root>/<workflow>/.workflow                     in a bucket: the workflow exists, also without results
    <root>/<workflow>/<task>.ffr                    records by name: the same file as the one in `.results`, a copy of
                                                    a small object, or a reference; and results without a recipe
    <root>/<workflow>/.tmp/<uuid>-<host>-<pid>      drafts: records that are being written; in a bucket an empty
                                                    object that exists while a save with blobs is under way
    <root>/<workflow>/.big/<uuid><suffix>           blobs; without suffix, the content of a large record

Results that have a recipe are written in `.results`, which has drafts and blobs as workflows have.
"""

from __future__ import annotations

import json
import re
import uuid
from typing import Any

from functionfuse.errors import CorruptRecord, OptionError, UnsupportedRecord

MARKER = "ffstore.json"
FORMAT = 2
RECORD = ".ffr"
WORKFLOW, DRAFTS, BLOBS, TRASH = ".workflow", ".tmp", ".big", ".trash"
RESULTS, SAME, COLLECTED = ".results", ".same", ".collected"

_SUFFIX = r"(\.[A-Za-z0-9_-]+)*"
_IS_SUFFIX = re.compile(_SUFFIX)
_IS_BLOB = re.compile(rf"[0-9a-f]{{32}}{_SUFFIX}")


def new_blob_id(suffix: str = "") -> str:
    """Return the id, which is also the name, of a new blob.

    Raises:
        OptionError: the suffix is not one of file names, like `".h5"`.
    """
    if not _IS_SUFFIX.fullmatch(suffix):
        raise OptionError(f"the suffix of a blob must look like '.h5', got {suffix!r}")
    return f"{uuid.uuid4().hex}{suffix}"


def checked_blob_id(blob: str) -> str:
    """Return the id of a blob unchanged.

    Raises:
        CorruptRecord: this is no id of a blob. A crafted record must not point outside of its store.
    """
    if not _IS_BLOB.fullmatch(blob):
        raise CorruptRecord(f"not the id of a blob: {blob!r}")
    return blob


def marker_text(**content: Any) -> str:
    """Return the text of a marker of this release's format.

    Args:
        content: what else the marker says; `names` is `"exact"` or `"fold"`.
    """
    return json.dumps({"format": FORMAT, **content})


def parse_marker(text: str | bytes, address: str, *required: str) -> dict[str, Any]:
    """Return what a marker says.

    Args:
        text: the content of the marker.
        address: where it is, for messages.
        required: keys that it must have beside `format` and `names`.

    Raises:
        CorruptRecord: it is damaged, or was not made by a store.
        UnsupportedRecord: it was made by a release with another format.
    """
    try:
        content = json.loads(text)
        version, names, *_ = [content[key] for key in ("format", "names", *required)]
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptRecord(f"{address!r} is damaged, or was not made by a store: {error!r}") from error
    if version != FORMAT or names not in ("exact", "fold"):
        raise UnsupportedRecord(
            f"{address!r} has format {version!r}, names {names!r}; this release reads format {FORMAT}"
        )
    return dict(content)
