"""Stateful objects in actors: what happens when an actor dies, and what of them is stored."""

from __future__ import annotations

import os
import signal
from functools import partial
from pathlib import Path

import pytest

from functionfuse import workflow
from functionfuse.backends.builtin.rayback import RayWorkflow
from functionfuse.errors import NodeError
from functionfuse.storage import FileStore
from functionfuse.stores import objects_of

make = partial(RayWorkflow, workflow_name="stateful")


def note(folder, word):
    with (Path(folder) / "log").open("a") as log:
        log.write(f"{word} ")


def words(folder):
    return (Path(folder) / "log").read_text().split()


@workflow
class Sum:
    """Notes each call; kills its process in a call of a killing method, once."""

    def __init__(self, folder):
        note(folder, "new")
        self.folder = folder
        self.ballast = bytes(10_000)  # of a stored state it is nearly all
        self.sum = 0

    def add(self, n):
        note(self.folder, n)
        self.sum += n
        return self.sum

    def add_and_die(self, n):
        marker = Path(self.folder) / "died"
        if not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return self.add(n)


@workflow
class Locked(Sum):
    """Cannot be pickled."""

    def __init__(self, folder):
        import threading

        super().__init__(folder)
        self.lock = threading.Lock()


class KillingStore(FileStore):
    """Kills its process once, right after it stored one record."""

    def __init__(self, path, marker, workflow_name, task_name):
        super().__init__(path)
        self.marker = marker
        self.deadly = workflow_name, task_name

    def __reduce__(self):
        return type(self), (self.path, self.marker, *self.deadly)

    def save(self, workflow_name, task_name, obj, **options):
        footer = super().save(workflow_name, task_name, obj, **options)
        if (workflow_name, task_name) == self.deadly and not Path(self.marker).exists():
            Path(self.marker).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return footer


def chain(made):
    made.add(1).set_name("first")
    made.add(2).set_name("second")
    made.add_and_die(3).set_name("third")
    return make(made.add(4).set_name("fourth"))


def test_another_actor_goes_on_from_the_stored_state(local_ray, tmp_path):
    made = chain(Sum(str(tmp_path)))
    made.set_storage(FileStore(tmp_path / "store"))
    assert made.run() == 10
    assert words(tmp_path) == ["new", "1", "2", "3", "4"]


RESULTS, STATES = "stateful", objects_of("stateful")
ONE_MORE = pytest.mark.slow(reason="one more actor that dies and is made again")


@pytest.mark.slow(reason="an actor that is killed and waited for")
@pytest.mark.parametrize(
    ("workflow_name", "task_name", "calls"),
    [
        (RESULTS, "first", ["new", "1", "2"]),
        pytest.param(RESULTS, "second", ["new", "1", "2"], marks=ONE_MORE),
        pytest.param(STATES, "sum", ["new", "1", "2"], marks=ONE_MORE),
        (STATES, "second", ["new", "1", "2", "2"]),  # its result was not stored
    ],
)
def test_a_stored_call_whose_actor_dies_before_it_returns(local_ray, tmp_path, workflow_name, task_name, calls):
    store = KillingStore(tmp_path / "store", tmp_path / "marker", workflow_name, task_name)
    for attempt in ("run", "run again"):  # what an earlier run stored is no call of this one
        (tmp_path / "log").unlink(missing_ok=True)
        (tmp_path / "marker").unlink(missing_ok=True)
        made = Sum(str(tmp_path)).set_name("sum")
        first = made.add(1).set_name("first")
        again = make(first, made.add(2).set_name("second"))
        again.set_storage(store)
        assert again.run(reuse="never") == [1, 3], attempt
        assert words(tmp_path) == calls, attempt
        assert store.read_task("stateful", "second") == 3


@pytest.mark.slow(reason="an actor that is killed and waited for")
def test_without_a_store_it_goes_through_the_calls_again(local_ray, tmp_path):
    assert chain(Sum(str(tmp_path))).run() == 10
    assert words(tmp_path) == ["new", "1", "2", "new", "1", "2", "3", "4"]


@pytest.mark.slow(reason="an actor that is killed and waited for")
@pytest.mark.filterwarnings("ignore:the state of")
def test_what_cannot_be_pickled_goes_through_them_too(local_ray, tmp_path):
    made = chain(Locked(str(tmp_path)))
    made.set_storage(FileStore(tmp_path / "store"))
    assert made.run() == 10
    assert words(tmp_path) == ["new", "1", "2", "new", "1", "2", "3", "4"]


@pytest.mark.slow(reason="an actor that is killed and waited for")
def test_an_actor_that_ray_itself_starts_again(local_ray, tmp_path):
    made = chain(Sum(str(tmp_path)))
    made.query("Sum_.*").set_remote_args({"max_restarts": 2, "max_task_retries": 2})
    assert made.run() == 10
    assert words(tmp_path) == ["new", "1", "2", "new", "1", "2", "3", "4"]


@pytest.mark.slow(reason="an actor that is killed and waited for")
def test_a_resumed_object_whose_actor_dies(local_ray, tmp_path):
    store = FileStore(tmp_path / "store")

    def run(last):
        made = Sum(str(tmp_path))
        made.add(1).set_name("first")
        made.add_and_die(last).set_name("second")
        workflow = make(made.add(3).set_name("third"))
        workflow.set_storage(store)
        return workflow.run()

    (tmp_path / "died").touch()
    assert run(2) == 6
    (tmp_path / "died").unlink()
    assert run(5) == 9
    assert words(tmp_path) == ["new", "1", "2", "3", "5", "3"]


@pytest.mark.slow(reason="an actor that is killed and waited for")
def test_a_stored_state_that_is_damaged_is_made_again(local_ray, tmp_path):
    store = FileStore(tmp_path / "store")

    def made(last):
        one = Sum(str(tmp_path))
        one.add(1).set_name("first")
        workflow = make(one.add(last).set_name("second"))
        workflow.set_storage(store)
        return workflow

    assert made(2).run() == 3
    (state,) = [path for path in (tmp_path / "store").rglob("first.ffr") if path.parent.name != "stateful"]
    content = bytearray(state.read_bytes())
    content[len(content) // 4] ^= 1
    state.write_bytes(content)
    with pytest.warns(UserWarning, match="state of an object after 'first' cannot be read"):
        assert made(3).run() == 4
    assert words(tmp_path) == ["new", "1", "2", "1", "3"]


def test_names_of_actors_are_those_of_the_nodes(local_ray, tmp_path):
    from ray._private.state import actors

    made = Sum(str(tmp_path)).set_name("my/own sum")
    make(made.add(1)).run()
    assert "my/own sum" in {actor["ActorClassName"] for actor in actors().values()}


def test_options_of_the_constructor_are_those_of_the_actor(local_ray, tmp_path):
    @workflow
    class Assigned:
        def resources(self):
            import ray

            return ray.get_runtime_context().get_assigned_resources()

    made = make(Assigned().set_name("one").resources().set_name("call"))
    made.query().set_remote_args({"num_cpus": 2, "max_retries": 1, "max_restarts": 1})
    assert made.run()["CPU"] == 2
    made.query("call").set_remote_args({"resources": {"nobody": 1}})
    assert made.run()["CPU"] == 2
    made.query("one").set_remote_args({"resources": {"nobody": 1}})
    with pytest.raises(NodeError, match="node 'one' cannot run: no machine of the cluster offers"):
        made.run()
