"""How fast the file store is, as ratios to its raw materials in the same run.

    python benchmarks/bench_storage.py [--mib 128] [--records 1000] [--names 20000] [--folder /dev/shm]

Each figure is the best of three rounds in which all contenders take turns.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import pickle
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from _measure import best, raw_write, show

from functionfuse.storage import FileStore

if TYPE_CHECKING:
    from collections.abc import Callable


def main() -> None:
    """Print every figure."""
    parser = argparse.ArgumentParser(description="How fast the file store is.")
    parser.add_argument("--mib", type=int, default=128, help="size of the large array")
    parser.add_argument("--records", type=int, default=1000, help="number of small results")
    parser.add_argument("--names", type=int, default=20_000, help="number of names listed")
    parser.add_argument("--folder", help="where to write; a folder of the file system in question")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="bench-storage-", dir=options.folder))
    try:
        large_array(folder, options.mib)
        extra_memory(folder, options.mib)
        many_objects(folder)
        small_records(folder, options.records)
        listing(folder, options.names)
    finally:
        shutil.rmtree(folder)


def large_array(folder: Path, mib: int) -> None:
    """Save and load one array."""
    array = np.random.default_rng(0).integers(0, 255, mib << 20, dtype=np.uint8)
    store = FileStore(folder / "large", durable=False)
    file = folder / "file"
    save: dict[str, Callable[[], object]] = {
        "raw write": lambda: raw_write(file, array),
        "store.save": lambda: store.save("w", "array", array),
        "np.save": lambda: np.save(folder / "file.npy", array),
        "pickle.dump": lambda: dump(file, array),
        "the original: pickle, sha1, write": lambda: dump_hashed(file, array),
    }
    load: dict[str, Callable[[], object]] = {
        "read()": file.read_bytes,
        "store.read_task": lambda: store.read_task("w", "array"),
        "np.load": lambda: np.load(folder / "file.npy"),
    }
    try:
        import joblib
    except ImportError:
        print("joblib is not installed: left out")
    else:
        save["joblib.dump"] = lambda: joblib.dump(array, folder / "file.joblib")
        load["joblib.load"] = lambda: joblib.load(folder / "file.joblib")

    def clear() -> None:
        # New memory of the machine costs more than any contender: all write into what was just freed.
        store.remove_task("w", pattern="*")
        for written in folder.glob("file*"):
            written.unlink()

    show(f"save an array of {mib} MiB, speed to a raw write", best(save, clear), "raw write")
    for fill in save.values():
        fill()
    show("load it (the store checks all of it), speed to read()", best(load), "read()")


def extra_memory(folder: Path, mib: int) -> None:
    """Show what saving and loading one array takes beside it, in memory that is no mapped file (Linux only)."""
    if not Path("/proc/self/status").exists():
        return
    print(f"\nmemory beside an array of {mib} MiB, MiB")
    for name, verb in (("store.save", "store.save('w', 'memory', array)"), ("store.read_task", READ_ALL)):
        print(f"  {name:40} {anonymous_peak(folder / 'large', mib, verb):10.1f}")
    FileStore(folder / "large", durable=False).remove_workflow("w")


READ_ALL = "del array; before = anonymous(); store.read_task('w', 'memory')"
MEASURED = """
import sys, threading
import numpy as np
from functionfuse.storage import FileStore

def anonymous():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("RssAnon")) / 1024

def watch():
    while not done.wait(0.001):
        seen.append(anonymous())

store = FileStore(sys.argv[1], durable=False)
array = np.ones(int(sys.argv[2]) << 17)
before, seen, done = anonymous(), [], threading.Event()
watcher = threading.Thread(target=watch)
watcher.start()
exec(sys.argv[3])
done.set()
watcher.join()
print(max(seen) - before)
"""


def anonymous_peak(store: Path, mib: int, verb: str) -> float:
    """Return by how many MiB the private memory of a fresh process grows at most."""
    command = [sys.executable, "-c", MEASURED, str(store), str(mib), verb]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def many_objects(folder: Path) -> None:
    """Save what is all pickle and no buffer."""
    rows = [{"id": n, "name": f"row {n}", "score": n / 7} for n in range(100_000)]
    store = FileStore(folder / "objects", durable=False)
    contenders: dict[str, Callable[[], object]] = {
        "pickle.dumps, no file": lambda: pickle.dumps(rows, protocol=5),
        "pickle.dump": lambda: dump(folder / "file", rows),
        "store.save": lambda: store.save("w", "rows", rows),
        "the original: pickle, sha1, write": lambda: dump_hashed(folder / "file", rows),
    }
    try:
        import joblib
    except ImportError:
        pass
    else:
        contenders["joblib.dump"] = lambda: joblib.dump(rows, folder / "file")

    def clear() -> None:
        store.remove_task("w", pattern="*")
        (folder / "file").unlink(missing_ok=True)

    show("save 100,000 dicts, speed to pickle.dumps", best(contenders, clear), "pickle.dumps, no file")


def small_records(folder: Path, count: int) -> None:
    """Save, ask for and read results of 1 KB."""
    value = {"text": "x" * 1000}
    bare = folder / "bare"
    bare.mkdir()
    relaxed, durable = FileStore(folder / "relaxed", durable=False), FileStore(folder / "durable")
    for number in range(count):
        relaxed.save("w", f"n{number}", value)
    verbs: dict[str, Callable[[int], object]] = {
        "save, relaxed": lambda n: relaxed.save("w", f"r{n}", value),
        "save, durable": lambda n: durable.save("w", f"r{n}", value),
        "bare write + fsync + rename + fsync": lambda n: bare_write(bare, n),
        "read_task": lambda n: relaxed.read_task("w", f"n{n}"),
        "has_task": lambda n: relaxed.has_task("w", f"n{n}"),
    }
    times: dict[str, list[float]] = {name: [] for name in verbs}
    for number in range(count):  # in turns: a disk has moods
        for name, verb in verbs.items():
            times[name].append(seconds(verb, number))
    medians = {name: 1e6 * statistics.median(durations) for name, durations in times.items()}
    print(f"\nresults of 1 KB, microseconds each (median of {count}), and of a bare durable write")
    for name, median in medians.items():
        print(f"  {name:40} {median:10.0f} {median / medians['bare write + fsync + rename + fsync']:8.2f}")


def listing(folder: Path, count: int) -> None:
    """List many names."""
    store = FileStore(folder / "names", durable=False)
    store.new_workflow("w")
    for number in range(count):
        (folder / "names" / "w" / f"dataset_{number % 7}, model {number}.ffr").touch()
    contenders: dict[str, Callable[[], object]] = {
        "iterdir": lambda: list((folder / "names" / "w").iterdir()),
        "store.list_tasks": lambda: store.list_tasks("w"),
        "store.list_tasks, pattern": lambda: store.list_tasks("w", "*_3, model*"),
    }
    print(f"\nlist {count:,} names, seconds")
    for name, duration in best(contenders).items():
        print(f"  {name:40} {duration:10.3f}")


def dump(path: Path, obj: object) -> None:
    """Pickle to a file."""
    with path.open("wb") as file:
        pickle.dump(obj, file, protocol=5)


def dump_hashed(path: Path, obj: object) -> None:
    """Pickle to a file as the original Function Fuse does."""
    data = pickle.dumps(obj)
    hashlib.sha1(data).hexdigest()
    path.write_bytes(data)


def bare_write(folder: Path, number: int) -> None:
    """Do only what no durable store can leave out."""
    draft = folder / "draft"
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.write(descriptor, b"x" * 1500)
    os.fsync(descriptor)
    os.close(descriptor)
    draft.rename(folder / f"{number}")
    descriptor = os.open(folder, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


def seconds(verb: Callable[[int], object], number: int) -> float:
    """Return how long one call took."""
    start = time.perf_counter()
    verb(number)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
