"""Folders with files in the way, without rights, and without room: told in words, and nothing is lost."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest

from functionfuse.errors import OptionError, StorageError, TaskNotFound
from functionfuse.storage import FileStore

UNPRIVILEGED = """
import json, os, sys
from functionfuse.errors import StorageError
from functionfuse.storage import FileStore

if os.geteuid() == 0:  # nothing is forbidden to root
    os.setgid(65534)
    os.setuid(65534)
said = {}
for call in sys.argv[1:]:
    store = None if call.startswith("FileStore") else FileStore("store")
    try:
        said[call] = ["", repr(eval(call))]
    except StorageError as error:
        said[call] = [str(error), repr(error.__cause__)]
print(json.dumps(said))
"""


@pytest.fixture
def shared_folder():
    """A folder that everybody may enter, unlike those of pytest."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture
def without_rights(shared_folder):
    """Run calls on ``store`` as a user without rights; the error of each, or what it returned."""

    def run(*calls):
        done = subprocess.run(
            [sys.executable, "-c", UNPRIVILEGED, *calls], cwd=shared_folder, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


@pytest.fixture
def read_only(shared_folder):
    """Three results in a store that may only be read, one of them not even that."""
    store = FileStore(shared_folder / "store", durable=False)
    for name in ("a", "b", "secret"):
        store.save("w", name, name)
    Path(store.path, "w", "secret.ffr").chmod(0)
    folders = [Path(folder) for folder, *_ in os.walk(shared_folder / "store")]
    for folder in folders:
        folder.chmod(0o555)
    yield store
    for folder in folders:
        folder.chmod(0o755)


NOT_ALLOWED = os.strerror(errno.EACCES)


@pytest.mark.skipif(not hasattr(os, "setuid"), reason="this system has no users of that kind")
class TestWithoutRights:
    def test_what_may_be_read_is_read(self, read_only, without_rights):
        said = without_rights(
            "store.read_task('w', 'a')", "store.list_tasks('w')", "store.list_workflows()", "store.new_workflow('w')",
            "[row.problem for row in store.results('w')][:2]", "store.has_task('w', 'b')", "store.gc('w', grace=0)",
        )  # fmt: skip
        assert [error for error, _ in said.values() if error] == []
        assert [value for _, value in said.values()] == [
            "'a'", "['a', 'b', 'secret']", "['w']", "None", "['', '']", "True", "[]",
        ]  # fmt: skip

    @pytest.mark.parametrize(
        ("call", "verb", "place"),
        [
            ("store.save('w', 'a', 1)", "write", "store/w/.tmp/"),
            ("store.save('w', 'new', 1, create=True)", "write", "store/w/.tmp/"),
            ("store.remove_task('w', 'a')", "remove", "store/w/a.ffr"),
            ("store.remove_workflow('w')", "remove", "store/w"),
            ("store.new_workflow('v')", "make folder", "store/v"),
            ("store.read_task('w', 'secret')", "read", "store/w/secret.ffr"),
            ("FileStore('store/below')", "make a store at", "store/below"),
        ],
    )
    def test_what_is_forbidden_is_told(self, read_only, without_rights, call, verb, place):
        (error, cause), *_ = without_rights(call).values()
        assert error.startswith(f"cannot {verb} '")
        assert place in error
        assert error.endswith(NOT_ALLOWED)
        assert cause.startswith("PermissionError")
        assert [read_only.read_task("w", name) for name in ("a", "b")] == ["a", "b"]
        assert read_only.list_tasks("w") == ["a", "b", "secret"]

    def test_one_that_may_not_be_read_hides_no_other(self, read_only, without_rights):
        said = without_rights("store.check_workflow('w')", "[row.problem[:11] for row in store.results('w')]")
        (_, problems), (_, rows) = said.values()
        assert "[('secret', \"cannot read" in problems
        assert rows == "['', '', 'cannot read']"

    def test_a_folder_that_may_not_be_entered(self, shared_folder, without_rights):
        (shared_folder / "hidden").mkdir(mode=0o700)
        if os.geteuid() != 0:
            (shared_folder / "hidden").chmod(0)
        (error, _), *_ = without_rights("FileStore('hidden/store')").values()
        assert error == f"cannot open a store at '{shared_folder.resolve()}/hidden/store': {NOT_ALLOWED}"


@pytest.fixture
def small_disk(tmp_path):
    """A file system with room for 2 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = sys.platform == "linux" and not subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", place], capture_output=True, check=False
    ).returncode  # fmt: skip
    if not mounted:
        pytest.skip("no file system can be mounted here")
    yield place
    subprocess.run(["umount", place], check=True)


class TestAFullDisk:
    @pytest.mark.parametrize("durable", [True, False])
    @pytest.mark.parametrize("kind", ["a pickle", "a buffer", "after a blob", "a dask array"])
    def test_the_old_result_stays_and_nothing_else(self, small_disk, blobby, blobby_serializer, durable, kind):
        np = pytest.importorskip("numpy", reason="numpy is not installed")
        store = FileStore(small_disk / "store", durable=durable)
        store.register_persistent_serializers(blobby_serializer)
        store.save("w", "a", blobby(b"old"))
        before = sorted(path for path in small_disk.rglob("*") if path.is_file())
        large = {
            "a pickle": lambda: list(range(10**6)),
            "a buffer": lambda: np.zeros(10**6),
            "after a blob": lambda: [blobby(bytes(10**6)), np.zeros(10**6)],
            "a dask array": lambda: pytest.importorskip("dask.array").ones((1000, 1000), chunks=100),
        }[kind]()
        with pytest.raises(StorageError, match=rf"cannot write '{small_disk}.*{os.strerror(errno.ENOSPC)}") as caught:
            store.save("w", "a", large)
        assert isinstance(caught.value.__cause__, OSError)
        assert caught.value.__cause__.__context__ is None
        assert sorted(path for path in small_disk.rglob("*") if path.is_file()) == before
        assert store.read_task("w", "a").content == b"old"
        store.save("w", "a", "new")
        assert store.read_task("w", "a") == "new"

    def test_without_any_room_results_are_read_and_removed(self, small_disk):
        store = FileStore(small_disk / "store")
        store.save("w", "a", "old")
        self.fill(small_disk / "other")
        with pytest.raises(StorageError, match=os.strerror(errno.ENOSPC)):
            store.save("w", "b", 1)
        assert store.read_task("w", "a") == "old"
        assert store.remove_task("w", "a") == ["a"]
        assert store.remove_workflow("w")

    def test_without_any_room_no_store_is_made(self, small_disk):
        self.fill(small_disk / "other")
        with pytest.raises(StorageError, match=rf"cannot make a store at .*{os.strerror(errno.ENOSPC)}") as caught:
            FileStore(small_disk / "store")
        assert caught.value.__cause__.__context__ is None
        assert list((small_disk / "store").iterdir()) == []

    def fill(self, path):
        with path.open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(4096))
        assert os.statvfs(path).f_bavail == 0


class TestFilesInTheWay:
    def test_above_the_store(self, tmp_path):
        (tmp_path / "results").write_text("precious")
        with pytest.raises(StorageError, match=r"cannot open a store at '.*/results/a/b': '.*/results' is a file"):
            FileStore(tmp_path / "results" / "a" / "b")
        assert (tmp_path / "results").read_text() == "precious"

    def test_where_a_workflow_should_be(self, store, files):
        (files.root / "w").write_text("precious")
        with pytest.raises(TaskNotFound):
            store.read_task("w", "a")
        for change in (lambda: store.save("w", "a", 1), lambda: store.new_workflow("w")):
            with pytest.raises(StorageError, match=rf"'{files.root}/w.*{os.strerror(errno.ENOTDIR)}"):
                change()
        assert not store.remove_workflow("w")
        assert (store.list_workflows(), store.list_tasks("w")) == ([], [])
        assert (files.root / "w").read_text() == "precious"

    def test_a_folder_where_a_result_should_be(self, store, files):
        store.save("w", "b", 1)
        files.record("w", "a").mkdir()
        for ask in (store.read_task, store.remove_task, lambda *names: store.save(*names, 1)):
            with pytest.raises(StorageError, match=rf"a\.ffr': {os.strerror(errno.EISDIR)}"):
                ask("w", "a")
        assert [row.problem == "" for row in store.results("w")] == [False, True]
        assert [name for name, _ in store.check_workflow("w")] == ["a"]
        assert files.record("w", "a").is_dir()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda store: store.save("w", "a", 1, meta=5), "meta must be a mapping, got 5"),
        (lambda store: store.save("w", "a", 1, recipe=["a"]), r"recipe must be a mapping, got \['a'\]"),
        (lambda store: store.list_tasks("w", None), "pattern must be a glob over names.* got None"),
        (lambda store: store.results("w", 5), "pattern must be a glob over names.* got 5"),
        (lambda store: store.remove_task("w", pattern=b"a"), "pattern must be a glob over names.* got b'a'"),
        (lambda store: store.check_workflow("w", ["a"]), "pattern must be a glob over names"),
        (lambda store: store.gc("w", grace="1 d"), "grace must be 0 seconds or more, got '1 d'"),
        (lambda store: store.gc("w", grace=float("nan")), "grace must be 0 seconds or more, got nan"),
    ],
)
def test_arguments_of_a_wrong_kind(store, files, call, message):
    store.save("w", "a", "old")
    before = files.all()
    with pytest.raises(OptionError, match=message):
        call(store)
    assert files.all() == before
    assert store.read_task("w", "a") == "old"
