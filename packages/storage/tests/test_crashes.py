"""Several processes on one store, some of them killed."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from functionfuse.errors import StorageError, TaskNotFound
from functionfuse.storage import FileStore, Serializer

ROUNDS = 4
READS = 120

WRITER = """
import random, sys
from pathlib import Path
from functionfuse.storage import FileStore, Serializer

class Blobby:
    def __init__(self, content): self.content = content
    def __reduce__(self): raise TypeError("needs its serializer")

class BlobbySerializer(Serializer):
    name, version, types = "crash", 1, (Blobby,)
    def save(self, obj, out):
        blob, path = out.new(".bin")
        Path(path).write_bytes(obj.content)
        return blob

pick = random.Random(int(sys.argv[2]))
store = FileStore(sys.argv[1], durable=pick.random() < 0.3)
store.register_persistent_serializers(BlobbySerializer())
print("writing", flush=True)
while True:
    task, number = pick.choice("abc"), pick.randrange(1, 10**6)
    size = pick.choice([10, 1000, 200_000, 2_000_000])
    data = number.to_bytes(4, "big") * size
    store.save("w", task, {"task": task, "number": number, "data": Blobby(data) if pick.random() < 0.2 else data})
"""


class BytesSerializer(Serializer):
    """Reads the blobs of the writers as bytes."""

    name, version, types = "crash", 1, ("nothing.to.save",)

    def load(self, state, inp, version):
        return Path(inp.path(state)).read_bytes()


def check(value, task):
    assert value["task"] == task
    data = value["data"]
    assert data == value["number"].to_bytes(4, "big") * (len(data) // 4)


def read_beside_writers(store, task):
    """Whether a result was replaced faster than it could be read; anything but a whole one fails."""
    try:
        check(store.read_task("w", task), task)
    except TaskNotFound:
        return False
    except StorageError as error:
        if "replaced faster than read" not in str(error):
            raise
        return True
    return False


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_writers_that_are_killed_leave_whole_results(root):
    store = FileStore(root, durable=False)
    store.register_persistent_serializers(BytesSerializer())
    store.new_workflow("w")
    pick = random.Random(1)
    overtaken = 0
    for number in range(ROUNDS):
        writers = [
            subprocess.Popen([sys.executable, "-c", WRITER, str(root), str(10 * number + n)], stdout=subprocess.PIPE)
            for n in range(2)
        ]
        try:
            for writer in writers:
                assert writer.stdout.readline() == b"writing\n"
            for _ in range(pick.randrange(READS // 2, READS)):
                overtaken += read_beside_writers(store, pick.choice("abc"))
        finally:
            for writer in writers:
                writer.send_signal(signal.SIGKILL)
                writer.communicate()
        for task in store.list_tasks("w"):
            check(store.read_task("w", task), task)
    assert overtaken < ROUNDS * READS / 10
    assert set(store.list_tasks("w")) == set("abc")
    assert store.check_workflow("w") == []
    store.gc("w", grace=0)
    assert list((root / "w" / ".tmp").iterdir()) == []
    referenced = {blob["id"] for task in "abc" for blob in store.info("w", task)["blobs"]}
    assert {path.name for path in (root / "w" / ".big").glob("*")} == referenced


def test_a_create_race_of_six_processes(root):
    script = (
        "import sys\n"
        "from functionfuse.errors import LostRace\n"
        "from functionfuse.storage import FileStore\n"
        "store = FileStore(sys.argv[1], durable=False)\n"
        "print('ready', flush=True)\n"
        "for name in sys.stdin.readline().split():\n"
        "    try:\n"
        "        store.save('w', name, int(sys.argv[2]), create=True)\n"
        "        print('won', sys.argv[2], flush=True)\n"
        "    except LostRace:\n"
        "        print('lost', store.read_task('w', name), flush=True)\n"
    )
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(root), str(n)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for n in range(6)
    ]
    assert [racer.stdout.readline() for racer in racers] == ["ready\n"] * 6
    names = [f"task{n}" for n in range(20)]
    for racer in racers:
        racer.stdin.write(f"{' '.join(names)}\n")
        racer.stdin.flush()
    answers = [racer.communicate()[0].splitlines() for racer in racers]
    store = FileStore(root)
    for name, *outcomes in zip(names, *answers, strict=True):
        stored = store.read_task("w", name)
        assert outcomes.count(f"won {stored}") == 1
        assert outcomes.count(f"lost {stored}") == 5


def test_stores_that_are_made_at_the_same_time(root):
    start = threading.Barrier(8)
    made = []

    def make():
        start.wait(30)
        made.append(FileStore(root))

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 8
    assert [path.name for path in root.iterdir()] == ["ffstore.json"]
