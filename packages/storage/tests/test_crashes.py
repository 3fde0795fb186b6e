"""Several processes on one store, some of them killed. With ``--minutes``, for as long."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time

import actors
import pytest
import s3_server as s3

from functionfuse.errors import StorageError, TaskNotFound
from functionfuse.storage import FileStore

ROUNDS = 2
READS = {"file": 60, "S3": 15}  # at most, in a round

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")


class Cast:
    """The writers and readers of one test; they end only by being killed."""

    def __init__(self, config, pick):
        self._config = json.dumps(config)
        self._pick = pick
        self._running = []

    def start(self, *roles):
        started = [
            subprocess.Popen(
                [sys.executable, actors.__file__, role, self._config, str(self._pick.getrandbits(32))],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
            for role in roles
        ]
        self._running += started
        for actor in started:
            assert actor.stdout.readline() == b"ready\n", actor.stderr.read().decode()

    def kill_one(self):
        actor = self._running.pop(self._pick.randrange(len(self._running)))
        actor.kill()
        error = actor.communicate()[1].decode()
        assert actor.returncode == -9, error  # else it had failed before

    def kill_all(self):
        while self._running:
            self.kill_one()

    def abandon(self):
        for actor in self._running:
            actor.kill()
            actor.communicate()


@pytest.fixture(params=["durable", "relaxed", "S3"])
def config(request, root):
    if request.param == "S3":
        return {"kind": "S3", "options": request.getfixturevalue("s3_options")}
    return {"kind": "file", "options": {"path": str(root), "durable": request.param == "durable"}}


@pytest.mark.slow(reason="processes that are killed again and again")
@pytest.mark.chaos(weight=3)
def test_killed_writers_and_readers_leave_whole_results(config, effort):
    store, pick = actors.open_store(config), effort.pick
    cast = Cast(config, pick)
    reads = overtaken = 0
    try:
        for _ in effort.rounds(ROUNDS):
            cast.start(*["write"] * pick.randint(1, 3), *["read"] * pick.randint(0, 2))
            cast.start("write")
            for _ in range(pick.randrange(READS[config["kind"]])):
                overtaken += actors.read(store, pick.choice(actors.TASKS))
                reads += 1
                if pick.random() < 0.05:
                    cast.kill_one()
                    cast.start("write")
            time.sleep(pick.uniform(0, 0.05))  # at any moment
            cast.kill_all()
            check_at_rest(store)
    finally:
        cast.abandon()
    assert overtaken <= reads / 10


def check_at_rest(store):
    """Nobody writes any more: what is there is whole, and gc takes all else."""
    names = store.list_tasks("w")
    for task in names:
        assert actors.is_whole(store.read_task("w", task), task)
    assert store.check_workflow("w") == []
    assert [row.problem for row in store.results("w")] == [""] * len(names)
    store.gc("w", grace=0)
    assert store.gc("w", grace=0) == []
    referenced = {blob["id"] for task in names for blob in store.info("w", task)["blobs"]}
    blobs = {blob for blob, _ in store._transport.blob_ages("w")}
    assert referenced <= blobs
    assert blobs == referenced or store._transport.is_writing("w")  # what this process could not finish stays a day


@pytest.fixture
def own_server(tmp_path, s3_options):  # the options bring the credentials, and skip where there is no server
    server = s3.S3Server(tmp_path)
    server.start()
    yield server
    server.stop()


@pytest.mark.slow(reason="processes that are killed again and again")
@pytest.mark.chaos(weight=3)
def test_what_a_killed_server_acknowledged_is_there_when_it_is_back(own_server, s3_options, effort):
    options = {**s3_options, "endpoint_url": own_server.endpoint, "retry_seconds": 0}
    store, pick = actors.open_store({"kind": "S3", "options": options}), effort.pick
    possible = {task: [None] for task in actors.TASKS}
    saved = 0
    for _ in effort.rounds(1):
        killer = threading.Timer(pick.uniform(0, 1.5), own_server.kill)
        killer.start()
        for number in range(10**6):
            task = actors.TASKS[number % 3]
            value = actors.make(pick, task, (40, 800_000, actors.LARGE))
            try:
                store.save("w", task, value)
            except StorageError:
                possible[task].append(value)  # it may have arrived
                break
            possible[task] = [value]
            saved += 1
        killer.join()
        own_server.restart()
        for task, values in possible.items():
            assert found(store, task) in values, task
        check_at_rest(store)
        possible = {task: [found(store, task)] for task in actors.TASKS}
    assert saved


def found(store, task):
    try:
        return store.read_task("w", task)
    except TaskNotFound:
        return None


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
    outcomes_of_racers = [racer.communicate()[0].splitlines() for racer in racers]
    store = FileStore(root)
    for name, *outcomes in zip(names, *outcomes_of_racers, strict=True):
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
