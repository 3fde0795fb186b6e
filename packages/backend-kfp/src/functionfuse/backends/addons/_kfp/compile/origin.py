"""Where pods get a workflow's code from: a root task, an object that is imported, or the image."""

from __future__ import annotations

import base64
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple
from uuid import uuid4

from functionfuse.errors import LostRace, OptionError, PlanError
from functionfuse.stores import objects_of

from ..pod.serialization import serialize
from .code import PYTHON
from .limits import MAX_CODE_SIZE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from functionfuse.stores import Store

    from .code import CodeArchive

IMAGE_FOLDER = "/opt/functionfuse"
"""The folder of the code in an image."""

_WRITE_ARTIFACT = """
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
import base64, bz2, os, sys
output_file, path, uri, text = sys.argv[1:]
data = bz2.decompress(base64.b64decode(text))
{_WRITE_ARTIFACT}"""

_FROM_STORE = f"""
import base64, os, pickle, sys
output_file, path, uri, python, store, workflow, name = sys.argv[1:]
if "%d.%d" % sys.version_info[:2] != python:
    sys.exit("functionfuse: this pipeline was compiled with Python %s; use an image with it" % python)
try:
    data = pickle.loads(base64.b64decode(store)).read_task(base64.b64decode(workflow).decode(), name)
except ImportError as error:
    sys.exit("functionfuse: the code cannot be read from the store: %s; the image needs what the store needs" % error)
{_WRITE_ARTIFACT}"""


class CodeOrigin(NamedTuple):
    """Where pods get the code from.

    Attributes:
        kind: "task" (a root task writes it), "uri" (an artifact that is imported) or "image" (it is in the image).
        location: the URI of the artifact, or the path in the image.
        program: the program of the root task, and its arguments.
        needs_store: whether the root task reads the store.
    """

    kind: Literal["task", "uri", "image"]
    location: str = ""
    program: Sequence[str] = ()
    needs_store: bool = False


def origin_of(code: CodeArchive, option: str, store: Store | None, workflow_name: str) -> CodeOrigin:
    """Put code where pods get it from, unless the user does that, and return where.

    Args:
        code: the code.
        option: "auto", "task", "store", "image", or a folder or URI; see `KFPWorkflow`.
        store: the workflow's store.
        workflow_name: under which the store keeps the code.

    Raises:
        PlanError: the code is too large for a command line.
        OptionError: `option` is "store", and there is none.
    """
    size = len(code.text)
    if option == "auto":
        option = "store" if size > MAX_CODE_SIZE and store is not None else "task"
    if option == "task":
        if size > MAX_CODE_SIZE:
            raise PlanError(
                f"the code of this workflow takes {size:,} bytes, and a command line takes {MAX_CODE_SIZE:,}; large "
                "values in arguments count too. With set_storage(...) it travels through a store that pods reach, "
                'with code="s3://bucket/folder" through a file that you upload, with code="image" in the image'
            )
        return CodeOrigin("task", program=[_FROM_TEXT, code.text])
    if option == "store":
        return CodeOrigin("task", program=[_FROM_STORE, *_save(code, store, workflow_name)], needs_store=True)
    if option == "image":
        return CodeOrigin("image", f"{IMAGE_FOLDER}/{file_name(code)}")
    if "://" in option:
        return CodeOrigin("uri", f"{option.rstrip('/')}/{file_name(code)}")
    return CodeOrigin("uri", str(write_code(code, Path(option).absolute())))


def file_name(code: CodeArchive) -> str:
    """Return the name of the file with this code, made from its content."""
    return f"{code.digest[:32]}.zip"


def write_code(code: CodeArchive, folder: Path) -> Path:
    """Write code to a file whose name is made from its content, and return the path.

    Args:
        code: the code.
        folder: the folder of the file.
    """
    path = folder / file_name(code)
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        part = folder / f".{uuid4().hex}"
        part.write_bytes(code.data)
        os.replace(part, path)  # noqa: PTH105
    return path


def dockerfile(code: CodeArchive, image: str) -> str:
    """Return a Dockerfile for an image with the code in it.

    Args:
        code: the code.
        image: the base image.
    """
    return (
        f'# The code of a workflow, for KFPWorkflow(..., code="image"). Build it in this folder, push it, and give\n'
        f"# its name as baseimage. Add what the nodes import.\n"
        f"FROM {image}\n"
        f"COPY {file_name(code)} {IMAGE_FOLDER}/{file_name(code)}\n"
    )


def _save(code: CodeArchive, store: Store | None, workflow_name: str) -> list[str]:
    """Save code in the store under a name made from its content, and return the arguments that read it."""
    if store is None:
        raise OptionError('code="store" needs a store: set_storage(...)')
    location, name = objects_of(workflow_name), f"code {code.digest}"
    with suppress(LostRace):  # it is there already
        store.save(location, name, code.data, create=True)
    return [PYTHON, base64.b64encode(serialize(store)).decode(), base64.b64encode(location.encode()).decode(), name]
