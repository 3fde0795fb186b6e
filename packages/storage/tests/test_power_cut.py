"""Every state of the disk that a power cut could leave, opened by a fresh store.

The calls of the kernel during a few saves are logged. For every moment, what was not synced by then may or
may not have reached the disk: any subset of the latest changes to folders, and all, none, half or zeros of
the content of files. Method: Pillai et al., All File Systems Are Not Created Equal, OSDI 2014, in little.
"""

from __future__ import annotations

import itertools
import os
import shutil
from contextlib import suppress
from pathlib import Path

import pytest

from functionfuse.errors import CorruptRecord, LostRace, TaskNotFound
from functionfuse.storage import FileStore, Serializer

OPTIONAL = 5  # of the latest changes to folders, any subset may be lost; earlier ones are taken as written
DEEPEST = 9  # the same, with --minutes


class Log:
    """Logs the calls that change files below a root."""

    def __init__(self, root, monkeypatch):
        self.calls = []
        self._root = str(root)
        self._paths = {}
        for name in ("open", "write", "pwrite", "fsync", "replace", "link", "unlink", "mkdir"):
            monkeypatch.setattr(os, name, self._logging(name, getattr(os, name)))

    def _logging(self, name, real):
        def call(*arguments, **options):
            result = real(*arguments, **options)
            getattr(self, f"_{name}")(result, *arguments)
            return result

        return call

    def _add(self, *call):
        if call[1].startswith(self._root):
            self.calls.append(call)

    def _open(self, descriptor, path, flags, *more):
        self._paths[descriptor] = str(path)
        if flags & os.O_CREAT:
            self._add("create", str(path))

    def _write(self, count, descriptor, data):
        self._add("data", self._paths.get(descriptor, ""), bytes(data[:count]))

    def _pwrite(self, count, descriptor, data, offset):
        raise AssertionError("the model of a disk knows only files that grow")

    def _fsync(self, nothing, descriptor):
        self._add("fsync", self._paths.get(descriptor, ""))

    def _replace(self, nothing, source, target):
        self._add("rename", str(source), str(target))

    def _link(self, nothing, source, target):
        self._add("link", str(source), str(target))

    def _unlink(self, nothing, path, **options):
        self._add("unlink", str(path))

    def _mkdir(self, nothing, path, *more):
        self._add("mkdir", str(path))


class Disk:
    """What may be on the disk after a prefix of the calls."""

    def __init__(self, calls):
        self._calls = calls
        self._written, self._synced = {}, {}
        self._owner = self._follow(range(len(calls)), watch=True)

    def states(self, optional):
        """Yield each tree, a mapping of paths to contents; folders have None.

        Any subset of the latest ``optional`` changes to folders may be lost.
        """
        changes = [
            n for n, call in enumerate(self._calls) if call[0] in ("create", "rename", "link", "unlink", "mkdir")
        ]
        latest = [n for n in changes if not self._is_sure(n)][-optional:]
        seen = set()
        for kept in itertools.product((True, False), repeat=len(latest)):
            lost = {n for n, keep in zip(latest, kept, strict=True) if not keep}
            tree = self._follow([n for n in changes if n not in lost])
            for damage in ("none", "all", "half", "zeros"):
                content = {
                    path: inode if inode is None else self._content(inode, damage) for path, inode in tree.items()
                }
                key = tuple(sorted(content.items()))
                if key not in seen:
                    seen.add(key)
                    yield content

    def _is_sure(self, number):
        """Whether a later sync of the folder has made a change to it last."""
        folder = str(Path(self._calls[number][-1]).parent)
        return any(call == ("fsync", folder) for call in self._calls[number + 1 :])

    def _follow(self, numbers, *, watch=False):
        """Return which inode each path leads to when these calls were made; an inode is its create call."""
        tree = {}
        for number in numbers:
            verb, path, *rest = self._calls[number]
            if verb == "mkdir":
                tree[path] = None
            elif verb == "create":
                tree[path] = number
            elif verb == "rename":
                # A lost creation does not stop the rename that came after it: look where the file really was.
                tree.pop(path, None)
                tree[rest[0]] = self._inode(number, path)
            elif verb == "link":
                tree[rest[0]] = self._inode(number, path)
            elif verb == "unlink":
                tree.pop(path, None)
            elif watch and verb == "data":
                inode = self._inode(number, path)
                self._written[inode] = self._written.get(inode, b"") + rest[0]
            elif watch and verb == "fsync" and tree.get(path) is not None:
                self._synced[tree[path]] = self._written.get(tree[path], b"")
        return tree

    def _inode(self, number, path):
        """Return the inode that a path led to before a call."""
        while number:
            number -= 1
            verb, *paths = self._calls[number]
            if verb == "create" and paths[0] == path:
                return number
            if verb in ("rename", "link") and paths[1] == path:
                path = paths[0]
        raise AssertionError(f"{path} was never made")

    def _content(self, inode, damage):
        written, synced = self._written.get(inode, b""), self._synced.get(inode, b"")
        if damage == "all":
            return synced
        if damage == "half":
            return written[: max(len(synced), len(written) // 2)]
        if damage == "zeros":
            return synced + bytes(len(written) - len(synced))
        return written


class Blobby:
    def __init__(self, content):
        self.content = content


class LoggedSerializer(Serializer):
    name = "blobby"
    version = 1
    types = (Blobby,)

    def save(self, obj, out):
        blob, path = out.new(".bin")
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        os.write(descriptor, obj.content * 100)
        os.close(descriptor)
        return blob, len(obj.content) * 100

    def load(self, state, inp, version):
        blob, length = state
        data = Path(inp.path(blob)).read_bytes()
        if len(data) != length or not data.strip(b"\0"):
            raise CorruptRecord("blob is not what was written")
        return Blobby(data[: length // 100])


def build(root, tree, original):
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    (root / "ffstore.json").write_text('{"format": 2, "names": "exact"}')
    for path, content in sorted(tree.items()):
        place = root / Path(path).relative_to(original)
        if not place.parent.is_dir():
            continue  # the folder was lost, and all in it
        if content is None:
            place.mkdir()
        else:
            place.write_bytes(content)


def read(root):
    """Return the value, "nothing" or "damage"."""
    store = FileStore(root)
    store.register_persistent_serializers(LoggedSerializer())
    try:
        value = store.read_task("w", "k")
    except TaskNotFound:
        return "nothing"
    except CorruptRecord:
        return "damage"
    return value.content.decode() if isinstance(value, Blobby) else value


def outcomes(tmp_path, monkeypatch, durable, steps, optional=OPTIONAL):
    """Return (steps done, outcome) for every state of the disk at every moment."""
    root = tmp_path / "store"
    shutil.rmtree(root, ignore_errors=True)
    store = FileStore(root, durable=durable)
    store.register_persistent_serializers(LoggedSerializer())
    done = []
    with monkeypatch.context() as patch:
        log = Log(root, patch)
        for step in steps:
            step(store, lambda: done.append(len(log.calls)))
    found, known = set(), {}
    for moment in range(len(log.calls) + 1):
        for tree in Disk(log.calls[:moment]).states(optional):
            key = tuple(sorted(tree.items()))
            if key not in known:
                build(tmp_path / "disk", tree, root)
                known[key] = read(tmp_path / "disk")
            found.add((sum(count <= moment for count in done), known[key]))
    return found


# A step works on the store and calls ``done()`` when something has returned.


def save(value, **options):
    def step(store, done):
        store.save("w", "k", value, **options)
        done()

    return step


def link(digest):
    def step(store, done):
        store.link_results("w", {"k": digest})
        done()

    return step


def remove(store, done):
    store.remove_task("w", "k")
    done()


def collect(store, done):
    store.gc("w", grace=0)
    done()


class Meanwhile:
    """A value during whose saving a step is done."""

    def __init__(self, value, step):
        self.value, self.step = value, step

    def __reduce__(self):
        self.step()
        return _itself, (self.value,)


def _itself(value):
    return value


def save_during(value, other, **options):
    """Two writers: all of the other's save lies within ours."""

    def step(store, done):
        with suppress(LostRace):
            store.save("w", "k", Meanwhile(value, lambda: other(store, done)), **options)
        done()

    return step


BLOB1, BLOB2, BLOB3 = Blobby(b"v1"), Blobby(b"v2"), Blobby(b"v3")
SCENARIOS = {
    "plain": ([save("v1"), save("v2"), remove], ["nothing", "v1", "v2", "nothing"]),
    "blobs": ([save(BLOB1), save(BLOB2), remove], ["nothing", "v1", "v2", "nothing"]),
    "create": (
        [save("v1", create=True), remove, save("v2", create=True)],
        ["nothing", "v1", "nothing", "v2"],
    ),
    "recipes": (
        [save("v1", recipe={"digest": "d1"}), save("v2", recipe={"digest": "d2"}), link("d1"), remove],
        ["nothing", "v1", "v2", "v1", "nothing"],
    ),
    "recipes of blobs": (
        [save(BLOB1, recipe={"digest": "d1"}), save(BLOB2, recipe={"digest": "d1"}), remove],
        ["nothing", "v1", "v2", "nothing"],
    ),
    "two writers": ([save("v1"), save_during(BLOB2, save(BLOB3))], ["nothing", "v1", "v3", "v2"]),
    "a lost race": ([save_during(BLOB1, save(BLOB2, create=True), create=True)], ["nothing", "v2", "v2"]),
}


def check_durable(found, values):
    # After step n: what it left, or already what the next step leaves.
    assert found <= {(n, value) for n in range(len(values)) for value in values[n : n + 2]}
    assert {value for _, value in found} == set(values)


def check_honest(found, values):
    assert {value for _, value in found} <= {*values, "damage"}


def check_relaxed(found, values):
    check_honest(found, values)
    assert any(value not in values[n : n + 2] for n, value in found)  # else nothing was cut


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_durable_store_loses_nothing_that_was_saved(tmp_path, monkeypatch, scenario):
    steps, values = SCENARIOS[scenario]
    check_durable(outcomes(tmp_path, monkeypatch, True, steps), values)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_relaxed_store_may_lose_but_never_lies(tmp_path, monkeypatch, scenario):
    steps, values = SCENARIOS[scenario]
    check_relaxed(outcomes(tmp_path, monkeypatch, False, steps), values)


def draw_scenario(pick):
    """Return the steps of a scenario, and what can be read before the first and after each."""
    steps, values = [], ["nothing"]
    for number in range(pick.randint(1, 4)):
        new = [f"v{number}.{n}" for n in range(2)]
        one, other = (Blobby(text.encode()) if pick.random() < 0.6 else text for text in new)
        verb = pick.choice(["save", "create", "during", "create during", "remove", "collect"])
        is_there = values[-1] != "nothing"
        if verb == "collect":
            steps.append(collect)
            values.append(values[-1])
        elif verb == "remove" and is_there:
            steps.append(remove)
            values.append("nothing")
        elif verb == "create" and not is_there:
            steps.append(save(one, create=True))
            values.append(new[0])
        elif verb == "create during" and not is_there:
            steps.append(save_during(one, save(other, create=pick.random() < 0.5), create=True))
            values += [new[1], new[1]]
        elif verb == "during":
            steps.append(save_during(one, save(other)))
            values += [new[1], new[0]]
        else:
            steps.append(save(one))
            values.append(new[0])
    return steps, values


@pytest.mark.chaos(weight=3)
@pytest.mark.parametrize("durable", [True, False])
def test_any_operations(tmp_path, monkeypatch, effort, durable):
    for _ in effort.rounds(2):
        steps, values = draw_scenario(effort.pick)
        optional = effort.pick.randint(OPTIONAL, DEEPEST) if effort.is_long else OPTIONAL - 1
        found = outcomes(tmp_path, monkeypatch, durable, steps, optional)
        (check_durable if durable else check_honest)(found, values)
