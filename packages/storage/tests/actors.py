"""Writers and readers of one workflow, as programs that tests start and kill.

python actors.py write|read CONFIG SEED
"""

from __future__ import annotations

import json
import random
import sys
from itertools import count
from pathlib import Path

from functionfuse.errors import StorageError, TaskNotFound
from functionfuse.storage import Serializer, storage_factory

TASKS = "abc"
SIZES = (40, 4000, 800_000, 8_000_000)
LARGE = 20_000_000  # several parts of an upload


class Blobby:
    """Stands for data that is too large for a record."""

    def __init__(self, content):
        self.content = content

    def __eq__(self, other):
        return self.content == other.content

    __hash__ = None

    def __reduce__(self):
        raise TypeError("needs its serializer")


class BlobbySerializer(Serializer):
    name, version, types = "blobby", 2, (Blobby,)

    def save(self, obj, out):
        blob, path = out.new(".bin")
        Path(path).write_bytes(obj.content)
        return blob

    def load(self, state, inp, version):
        return Blobby(Path(inp.path(state)).read_bytes())


def open_store(config):
    store = storage_factory(config)
    store.register_persistent_serializers(BlobbySerializer)
    return store


def make(pick, task, sizes=SIZES):
    """A value that says whether it is whole, and which task it is of."""
    number = pick.randrange(1, 10**6)
    data = number.to_bytes(4, "big") * (pick.choice(sizes) // 4)
    return {"task": task, "number": number, "data": Blobby(data) if pick.random() < 0.2 else data}


def is_whole(value, task):
    data = value["data"].content if isinstance(value["data"], Blobby) else value["data"]
    return value["task"] == task and data == value["number"].to_bytes(4, "big") * (len(data) // 4)


def read(store, task):
    """Whether a result was replaced faster than it could be read; anything but a whole one, or none, fails."""
    try:
        value = store.read_task("w", task)
    except TaskNotFound:
        return False
    except StorageError as error:
        if "replaced faster than read" not in str(error):
            raise
        return True
    assert is_whole(value, task), task
    return False


def main(role, config, seed):
    config, pick = json.loads(config), random.Random(seed)
    store = open_store(config)
    sizes = (*SIZES, LARGE) if config["kind"] == "S3" else SIZES
    print("ready", flush=True)
    for _ in count():
        task = pick.choice(TASKS)
        if role == "read":
            read(store, task)
        else:
            store.save("w", task, make(pick, task, sizes))


if __name__ == "__main__":
    main(*sys.argv[1:])
