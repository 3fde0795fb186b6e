"""Failure capsules that cannot be read or replayed, and what is recorded of calls in unusual circumstances."""

from __future__ import annotations

import io
import json
import logging
import os
import platform
import subprocess
import sys
import threading
import zipfile
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from functionfuse import workflow
from functionfuse.backends import capsule
from functionfuse.backends.calls import Call
from functionfuse.backends.performing import perform
from functionfuse.backends.recording import MOST_CAPSULE, Recording
from functionfuse.decorator import target_called
from functionfuse.errors import CapsuleError, TaskNotFound
from functionfuse.testing.memory_store import MemoryStore

OTHER_MINOR = "3.99.1"


@workflow
def fails(*values, **options):
    local_secret = "do not show"  # noqa: F841
    print("before")
    raise ValueError(len(values) + len(options))


LOCK = threading.Lock()


@workflow
def uses_lock(value):
    with LOCK:
        raise ValueError(value)


class Counted:
    """Counts how often it is pickled."""

    pickled = 0

    def __reduce__(self):
        Counted.pickled += 1
        return Counted, ()


def record_of(function, *args, **recording):
    call = Call(target_called(workflow(function)), args, {}, recording=Recording("n", "w", **recording))
    return perform(call).record


def content_of(*args, function=fails, **recording):
    return record_of(function, *args, **{"pickler": "cloudpickle", "capsule_bytes": MOST_CAPSULE, **recording}).capsule


def changed(content, **facts):
    """Return a capsule with other facts."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(stream, "w") as new:
        new.writestr("capsule.json", json.dumps({**json.loads(old.read("capsule.json")), **facts}))
        new.writestr("call.pickle", old.read("call.pickle"))
    return stream.getvalue()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "n.capsule"


class TestCapsulesThatCannotBeUsed:
    def test_no_file(self, path):
        with pytest.raises(CapsuleError, match=f"{str(path)!r} cannot be read: .*No such file"):
            capsule.open(path)

    @pytest.mark.parametrize("content", [b"", b"anything", b"PK\x03\x04 half a zip"])
    def test_no_capsule(self, path, content):
        path.write_bytes(content)
        with pytest.raises(CapsuleError, match="is no capsule, or is damaged"):
            capsule.open(path)

    @pytest.mark.parametrize("place", [0.2, 0.5, 0.8])
    def test_damage(self, path, place):
        content = bytearray(content_of("x" * 10_000))
        content[int(len(content) * place)] ^= 0xFF
        path.write_bytes(content)
        with pytest.raises(CapsuleError, match="is no capsule, or is damaged"):
            capsule.open(path)

    def test_any_damaged_byte(self, path):
        """It is told, or it is in a place that nothing reads."""
        sound = content_of(1)
        told = 0
        for place in range(0, len(sound), 3):
            content = bytearray(sound)
            content[place] ^= 0xFF
            path.write_bytes(content)
            try:
                capsule.open(path)
            except CapsuleError:
                told += 1
        assert told > len(sound) / 6

    def test_another_minor_version_of_python(self, path):
        path.write_bytes(changed(content_of(1), python=OTHER_MINOR))
        failed = capsule.open(path)  # which can be looked at
        assert "ValueError: 1" in str(failed)
        with pytest.raises(CapsuleError, match=f"made by Python {OTHER_MINOR}.*Python {platform.python_version()}"):
            failed.replay()

    def test_a_newer_release(self, path):
        path.write_bytes(changed(content_of(1), format=99, functionfuse="9.9"))
        with pytest.raises(CapsuleError, match=r"written by Function Fuse 9\.9, which is newer"):
            capsule.open(path)

    def test_a_missing_package(self, tmp_path, path):
        (tmp_path / "distribution").mkdir()
        made = tmp_path / "distribution" / "absent_module.py"
        made.write_text("class Thing:\n    pass\n")
        info = tmp_path / "distribution" / "absent_package-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: absent-package\nVersion: 1.2\n")
        (info / "top_level.txt").write_text("absent_module\n")
        (info / "RECORD").write_text("absent_module.py,,\n")
        program = f"""
import sys
sys.path[:0] = [{str(tmp_path / "distribution")!r}, {str(Path(__file__).parent)!r}]
import absent_module, test_frontend_capsules
absent_module.__file__ = sys.prefix + "/lib/site-packages/absent_module.py"  # no code of the project
content = test_frontend_capsules.content_of(absent_module.Thing())
open({str(path)!r}, "wb").write(content)
"""
        subprocess.run([sys.executable, "-c", program], check=True)
        with pytest.raises(CapsuleError, match=r"needs 'absent-package==1\.2', which is not installed here"):
            capsule.open(path).replay()

    def test_no_capsule_in_the_store(self):
        store = MemoryStore()
        store.new_workflow("w")
        with pytest.raises(TaskNotFound):
            capsule.stored(store, "w", "n")

    def test_a_stored_argument_without_the_store(self, path):
        path.write_bytes(content_of("x" * (2 << 20), stored=((0, "large", ()),)))
        with pytest.raises(CapsuleError, match=r"takes the stored result of 'large' from .*open\(path, store=...\)"):
            capsule.open(path).replay()
        store = MemoryStore()
        with pytest.raises(CapsuleError, match="takes a stored result that there is not"):
            capsule.open(path, store=store).replay()
        store.save("w", "large", ["x"])
        with pytest.raises(ValueError, match="1"):
            capsule.open(path, store=store).replay()


class TestCapsules:
    def test_arguments_that_cannot_be_pickled(self):
        failed = capsule.Capsule(content_of(1, threading.Lock()))
        assert list(failed.facts["left_out"]) == ["argument 1"]
        with pytest.raises(CapsuleError, match=r"without argument 1 .*lock.* cannot be pickled"):
            failed.replay()

    def test_options_that_cannot_be_pickled(self):
        call = Call(target_called(fails), (), {}, initialize=LOCK.acquire)
        call = call._replace(recording=Recording("n", "w", "cloudpickle", MOST_CAPSULE))
        failed = capsule.Capsule(perform(call).record.capsule)
        LOCK.release()
        with pytest.raises(CapsuleError, match=r"without the options .*lock"):
            failed.replay()

    def test_a_function_that_can_be_pickled_by_name_only(self):
        call = capsule.Capsule(content_of([1], function=uses_lock)).call()
        assert (call.target, call.args) == (uses_lock, ([1],))

    def test_the_most_bytes(self):
        """They bound all arguments together."""
        failed = capsule.Capsule(content_of("x" * 12_000, "y" * 12_000, "z" * 4000, capsule_bytes=20_000))
        ((name, why),) = failed.facts["left_out"].items()
        assert name == "argument 1"
        assert 7900 < int(why.removeprefix("it takes more than ").removesuffix(" bytes")) < 8000

    def test_the_most_bytes_and_the_function(self):
        failed = capsule.Capsule(content_of("x" * 960, capsule_bytes=1000))
        with pytest.raises(CapsuleError, match=r"without .*the function \(it takes more than \d\d bytes\)"):
            failed.replay()

    def test_a_stored_argument_is_not_counted(self):
        content = content_of("x" * (2 << 20), "y" * (1 << 20), stored=((0, "large", ()),), capsule_bytes=3 << 19)
        facts = capsule.Capsule(content).facts
        assert (facts["left_out"], facts["stored"]) == ({}, [[0, "large", []]])
        assert len(content) < 3 << 19

    def test_arguments_are_pickled_once(self, monkeypatch):
        monkeypatch.setattr(Counted, "pickled", 0)
        content = content_of(Counted(), "x" * 100_000)
        assert Counted.pickled == 1
        assert 100_000 < len(content) < 200_000

    def test_what_arguments_share(self):
        shared = [1]
        first, second = capsule.Capsule(content_of(shared, {"n": shared})).call().args
        assert second["n"] is first

    def test_what_an_argument_shares_that_is_not_there(self):
        """What only its pickle had is in that of the next one."""
        shared = ["shared"]
        failed = capsule.Capsule(content_of([shared, LOCK], shared, stored=((0, "first", ()),)), store=MemoryStore())
        failed._store.save("w", "first", "stored")
        assert failed.call().args == ("stored", ["shared"])

    def test_secrets(self):
        failed = capsule.Capsule(content_of({"password": "hunter2", "n": {"api_key": "hunter2"}}))
        assert "do not show" not in str(failed.frames)
        assert "hunter2" not in str(failed)

    def test_a_variable_that_cannot_be_shown(self):
        class Opaque:
            def __repr__(self):
                raise RuntimeError("no")

        def uses(value):
            raise ValueError(type(value).__name__)

        (frame,) = capsule.Capsule(content_of(Opaque(), function=uses)).frames
        assert "Opaque object" in frame.variables["value"]

    def test_a_capsule_that_cannot_be_made(self):
        record = record_of(fails, pickler="no_such_module")
        assert (record.capsule, record.problem) == (None, "ModuleNotFoundError: No module named 'no_such_module'")
        assert str(record.output) == "before\n"

    def test_a_success_now(self, monkeypatch, capsys):
        def reads():
            return os.environ["FUNCTIONFUSE_TEST"]

        failed = capsule.Capsule(content_of(function=reads))
        monkeypatch.setenv("FUNCTIONFUSE_TEST", "1")
        assert failed.replay() == "1"
        failed.debug()
        assert capsys.readouterr().out == "node 'n' does not fail here\n"

    def test_debugging(self, path):
        """Pdb stands where the function raised, with its variables."""
        path.write_bytes(content_of(1, 2))
        program = f"from functionfuse.backends import capsule; capsule.open({str(path)!r}).debug()"
        commands = "p 'seen', len(values)\nw\nq\n"
        shown = subprocess.run(
            [sys.executable, "-c", program], input=commands, text=True, capture_output=True, check=True
        ).stdout
        assert "ValueError: 2" in shown
        assert "('seen', 2)" in shown
        assert "raise ValueError(len(values) + len(options))" in shown


class TestOutput:
    def test_a_thread_of_the_function(self):
        def starts():
            thread = threading.Thread(target=print, args=("from a thread",))
            thread.start()
            thread.join()

        assert str(record_of(starts).output) == "from a thread\n"

    def test_a_stream_that_is_replaced_while_another_call_goes_on(self):
        """What is written to the new one is recorded, and once to that which comes back."""
        begun, gate = threading.Event(), threading.Event()

        def waits():
            begun.set()
            gate.wait()

        other = threading.Thread(target=record_of, args=(waits,))
        other.start()
        begun.wait()
        try:
            for _ in range(2):
                with redirect_stdout(io.StringIO()) as shown:
                    assert str(record_of(print, "replaced").output) == "replaced\n"
                assert shown.getvalue() == "replaced\n"
                assert str(record_of(print, "back").output) == "back\n"
        finally:
            gate.set()
            other.join()

    def test_calls_at_the_same_time(self):
        """Each has its own output."""
        barrier = threading.Barrier(4)

        def says(word):
            for number in range(50):
                print(word, number)
                if not number:
                    barrier.wait()

        records = {}
        threads = [
            threading.Thread(target=lambda word=word: records.update({word: record_of(says, word)})) for word in "abcd"
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for word, record in records.items():
            assert str(record.output) == "".join(f"{word} {number}\n" for number in range(50))

    def test_a_call_within_a_call(self):
        """The outer one has what the inner one prints, too."""
        inner = []

        def runs():
            print("outer")
            inner.append(record_of(print, "inner"))

        assert str(record_of(runs).output) == "outer\ninner\n"
        assert str(inner[0].output) == "inner\n"

    def test_afterwards(self, capsys):
        """Everything is as it was, also after an interrupt."""

        def interrupts():
            print("seen")
            raise KeyboardInterrupt

        before = sys.stdout, sys.stderr, logging.Logger.callHandlers
        with pytest.raises(KeyboardInterrupt):
            record_of(interrupts)
        assert (sys.stdout, sys.stderr, logging.Logger.callHandlers) == before
        assert capsys.readouterr().out == "seen\n"

    def test_a_line_without_an_end(self):
        def writes():
            sys.stdout.write("half")
            sys.stderr.write("other\n")
            sys.stdout.write(" a line")

        output = record_of(writes).output
        assert [(piece.source, piece.text) for piece in output.pieces] == [
            ("stderr", "other\n"),
            ("stdout", "half a line"),
        ]

    def test_a_line_in_many_parts(self):
        """They become a piece before the line ends."""

        def writes():
            for _ in range(100):
                sys.stdout.write("part ")
            sys.stdout.write("end\n")

        output = record_of(writes).output
        assert str(output) == "part " * 100 + "end\n"
        assert len(output.pieces) == 2
