"""Where pods get a workflow's code from: a root task, an object that is imported, or the image."""

from __future__ import annotations

import base64
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from functionfuse.errors import LostRace, OptionError, PlanError
from functionfuse.stores import objects_of

from ..pod.wire import dumps
from .code import PYTHON
from .limits import LONGEST_CODE
from .pipeline import Origin

if TYPE_CHECKING:
    from functionfuse.stores import Store

    from .code import Code

FOLDER = "/opt/functionfuse"
"""Where an image has the code."""

_TELL_AND_WRITE = """
os.makedirs(os.path.dirname(path), exist_ok=True)
with open(path, "wb") as file:
    file.write(data)
if os.path.isabs(output_file):
    import json
    os.makedirs(os.path.dirname(output_file), exist_ok=True)
    with open(output_file, "w") as file:
        json.dump({"artifacts": {"out": {"artifacts": [{"name": "out", "uri": uri}]}}}, file)
"""

_FROM_TEXT = f"""
import base64, os, sys, zlib
output_file, path, uri, text = sys.argv[1:]
data = zlib.decompress(base64.b64decode(text))
{_TELL_AND_WRITE}"""

_FROM_STORE = f"""
import base64, os, pickle, sys
output_file, path, uri, python, store, workflow, name = sys.argv[1:]
if "%d.%d" % sys.version_info[:2] != python:
    sys.exit("functionfuse: this pipeline was compiled with Python %s; use an image with it" % python)
try:
    data = pickle.loads(base64.b64decode(store)).read_task(base64.b64decode(workflow).decode(), name)
except ImportError as error:
    sys.exit("functionfuse: the code cannot be read from the store: %s; the image needs what the store needs" % error)
{_TELL_AND_WRITE}"""


def origin_of(code: Code, how: str, store: Store | None, workflow_name: str) -> Origin:
    """Bring code to where pods get it from.

    Args:
        code: the code.
        how: "auto", "task", "store", "image", or a folder or address; see ``KFPWorkflow``.
        store: the workflow's store.
        workflow_name: under which the store keeps the code.

    Raises:
        PlanError: too much code for a command line.
        OptionError: there is no such way.
    """
    size = len(code.text)
    if how == "auto":
        how = "store" if size > LONGEST_CODE and store is not None else "task"
    if how == "task":
        if size > LONGEST_CODE:
            raise PlanError(
                f"the code of this workflow takes {size:,} bytes, and a command line takes {LONGEST_CODE:,}; large "
                "values in arguments count too. set_storage(...) lets it travel through a store that pods reach, "
                'code="s3://bucket/folder" through an object that you upload, code="image" in the image'
            )
        return Origin("task", [_FROM_TEXT, code.text])
    if how == "store":
        return Origin("task", [_FROM_STORE, *_stored(code, store, workflow_name)], needs_store=True)
    if how == "image":
        return Origin("image", f"{FOLDER}/{file_name(code)}")
    if "://" in how:
        return Origin("uri", f"{how.rstrip('/')}/{file_name(code)}")
    return Origin("uri", str(write_code(code, Path(how).absolute())))


def file_name(code: Code) -> str:
    """Return the name of a file with this code and no other."""
    return f"{code.digest[:32]}.zip"


def write_code(code: Code, folder: Path) -> Path:
    """Write code to a file that its content names."""
    path = folder / file_name(code)
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        part = folder / f".{uuid4().hex}"
        part.write_bytes(code.data)
        os.replace(part, path)  # noqa: PTH105
    return path


def dockerfile(code: Code, image: str) -> str:
    """Return a Dockerfile for an image with the code in it."""
    return (
        f'# The code of a workflow, for KFPWorkflow(..., code="image"). Build it in this folder, push it, and give\n'
        f"# its name as baseimage. Add what the nodes import.\n"
        f"FROM {image}\n"
        f"COPY {file_name(code)} {FOLDER}/{file_name(code)}\n"
    )


def _stored(code: Code, store: Store | None, workflow_name: str) -> list[str]:
    """Save code in the store under a name that its content makes, and return how it is found."""
    if store is None:
        raise OptionError('code="store" needs a store: set_storage(...)')
    place, name = objects_of(workflow_name), f"code {code.digest}"
    with suppress(LostRace):  # it is there already
        store.save(place, name, code.data, create=True)
    return [PYTHON, base64.b64encode(dumps(store)).decode(), base64.b64encode(place.encode()).decode(), name]
