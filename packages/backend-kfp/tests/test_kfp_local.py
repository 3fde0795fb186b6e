"""Runs under kfp.local: groups, code on every way, other interpreters, programs of users."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
import venv

import pytest
import yaml
from kfp import dsl, local
from kfp_functions import Counter, add, count_of, divided, doubled, process_of, says, total, variable, waits

from functionfuse import workflow
from functionfuse.backends.addons.kfpback import KFPWorkflow
from functionfuse.backends.plugins import InitializerPlugin
from functionfuse.errors import (
    EngineError,
    NodeError,
    NodeTimeoutError,
    OptionError,
    PlanError,
    WorkerDiedError,
    WorkflowFailed,
)
from functionfuse.storage import FileStore
from functionfuse.testing import MemoryStore


def new(*nodes, **options):
    return KFPWorkflow(*nodes, workflow_name="local", **options)


@pytest.fixture
def store(tmp_path):
    return FileStore(tmp_path / "store", durable=False)


def test_helper_modules_travel():
    """Those that the module of the nodes imports, too."""
    assert new(doubled(21)).run_local() == 42


def test_artifacts_stay_in_a_folder(tmp_path):
    made = new(add(1, 2).set_name("The Sum"), pipeline_root=str(tmp_path / "root"))
    assert [made.run(), made.run()] == [3, 3]
    assert len(list((tmp_path / "root").glob("local-*/the-sum/out"))) == 2


def test_it_is_quiet_unless_asked(capsys):
    made = new(says("hello from a pod"))
    made.run()
    assert capsys.readouterr().out == ""
    made.run_local(verbose=True)
    assert "hello from a pod" in capsys.readouterr().out


def test_env():
    made = new(variable("MODE"))
    made.query().set_task_args({"env": {"MODE": "fast"}})
    assert made.run() == "fast"


def test_a_time_limit():
    made = new(waits(20).set_name("slow"))
    made.query("slow").set_timeout(0.1)
    with pytest.raises(NodeTimeoutError, match="'slow'"):
        made.run()


def test_two_minors_of_kfp_refuse_plain_containers():
    """The reason for -X kfp.dsl.executor_main in every command; when this fails, it may go."""

    @dsl.container_component
    def plain():
        return dsl.ContainerSpec(image="python:3.11", command=["python3", "-c", "pass"])

    plain.component_spec  # noqa: B018  it can be compiled
    local.init(local.SubprocessRunner(use_venv=False))
    with pytest.raises(RuntimeError, match="only supports running Lightweight Python Components"):
        plain()


# -- groups


def test_a_group_shares_a_process():
    first = process_of()
    made = new(first.set_name("a"), process_of(first).set_name("b"), process_of(first).set_name("other"))
    made = made.edit().collapse("a|b", name="together").done()
    a, b, other = made.run()
    assert a == b != other


def test_a_group_with_objects():
    """States between its calls leave it, and come into it."""
    counter = Counter(add(1, 0)).set_name("counter")
    ups = [counter.up(n).set_name(f"up {n}") for n in (1, 2)]
    between = count_of(counter).set_name("outside between")
    last = counter.up(10).set_name("up last")
    made = new(*ups, between, last, count_of(counter).set_name("outside end"), counter)
    made = made.edit().collapse("counter|up 1|up 2", name="first half").done()
    *values, object_ = made.run()
    assert (values, object_.count) == ([2, 4, 4, 14, 14], 14)


def test_a_group_that_takes_results_of_another():
    numbers = [add(n).set_name(f"number {n}") for n in range(20)]
    doubles = [doubled(number).set_name(f"double {n}") for n, number in enumerate(numbers)]
    made = new(total(doubles), numbers[3])
    made = made.edit().collapse("number .*", name="numbers").done()
    made = made.edit().collapse("double .*", name="doubles").done()
    assert made.run() == [380, 3]


def test_a_failure_in_a_group():
    bad = divided(1, 0).set_name("bad")
    good = add(1).set_name("good")
    nodes = [bad, add(bad).set_name("after"), good, add(good).set_name("fine"), add(bad).set_name("outside")]
    made = new(*nodes)
    made = made.edit().collapse("bad|good|after", name="g").done()
    with pytest.raises(WorkflowFailed) as caught:
        made.run(on_error="continue")
    report = caught.value.report
    assert list(report.failed) == ["bad"]
    assert report.skipped == {"after": "bad", "outside": "bad"}
    assert sorted(report.finished) == ["fine", "good"]


def test_a_dynamic_node_in_a_group():
    @workflow
    def parent(n):
        return total([add(k) for k in range(n)])

    made = new(add(parent(add(4)).set_name("p"), 1))
    made = made.edit().collapse("p|add_.*", name="all").done()
    assert made.run() == 7


def test_retries_in_a_group(tmp_path):
    @workflow
    def flaky(path):
        attempts = len(path.read_text()) + 1 if path.exists() else 1
        path.write_text("x" * attempts)
        if attempts < 3:
            raise OSError("again")
        return attempts

    made = new(flaky(tmp_path / "log"), add(1))
    made.query().set_retry(5)
    made = made.edit().collapse(".*", name="g").done()
    assert made.run() == [3, 1]


# -- how the code gets to pods


@pytest.mark.parametrize("code", ["task", "store", "folder", "image"])
def test_every_code_option(code, tmp_path, store):
    made = new(doubled(add(1, 2)), code=str(tmp_path / "code") if code == "folder" else code)
    made.set_storage(store)
    assert made.run() == 6


def test_much_code_goes_through_the_store(store):
    values = os.urandom(200_000)
    made = new(add(values, b"!"))
    made.set_storage(store)
    assert made.run() == values + b"!"
    assert store.list_tasks("local") == ["add_0000"]  # the code is not among the results


def commands(made, tmp_path, **options):
    """Return the command lines of a compiled pipeline by task, with paths instead of placeholders."""
    made.compile(str(tmp_path / "pipeline.yaml"), **options)
    spec = next(yaml.safe_load_all((tmp_path / "pipeline.yaml").read_text()))
    tasks = spec["root"]["dag"]["tasks"]
    found = {}
    for key in sorted(tasks, key=lambda key: (key != "code", key)):
        container = spec["deploymentSpec"]["executors"][f"exec-{key}"]["container"]
        inputs = tasks[key].get("inputs", {}).get("artifacts", {})
        text = [*container["command"], *container["args"]]
        for name, source in inputs.items():
            source = source["taskOutputArtifact"]
            path = tmp_path / source["producerTask"] / source["outputArtifactKey"]
            text = [part.replace(f"{{{{$.inputs.artifacts['{name}'].path}}}}", str(path)) for part in text]
        for name in ("out", "state"):
            for what in ("path", "uri"):
                mark = f"{{{{$.outputs.artifacts['{name}'].{what}}}}}"
                text = [part.replace(mark, str(tmp_path / key / name)) for part in text]
        found[key] = text
    return found


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory):
    """An interpreter that has nothing but Python, as in the image python:3.x."""
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder, with_pip=False, symlinks=True)
    return str(folder / "bin" / "python")


def run_command(python, command, **env):
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    command = [python if part == "python3" else part for part in command]
    return subprocess.run(command, capture_output=True, text=True, env=clean | env, timeout=120, check=False)


def test_an_image_with_nothing_but_python(tmp_path, bare_python):
    """Neither kfp, nor Function Fuse, nor cloudpickle."""

    @workflow
    def by_value(x):
        return [add(x, 1), doubled(x)]

    counter = Counter(by_value(5).set_name("1")[0]).set_name("2")
    made = new(counter.up(1).set_name("3"))
    for command in (parts := commands(made, tmp_path)).values():
        done = run_command(bare_python, command)
        assert done.returncode == 0, done.stderr
    assert list(parts) == ["code", "1", "2", "3"]
    assert pickle.loads((tmp_path / "3" / "out").read_bytes()) == 7


def test_a_failure_in_an_image_with_nothing_but_python(tmp_path, bare_python):
    for command in commands(new(divided(1, 0).set_name("n")), tmp_path).values():
        done = run_command(bare_python, command)
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr
    assert "functionfuse failed: " in done.stdout


def test_another_python(tmp_path, bare_python):
    """It is refused before anything is unpickled."""
    for command in commands(new(add(1).set_name("n")), tmp_path).values():
        run_command(bare_python, command)
    program = tmp_path / "code" / "out"
    here = f"{sys.version_info[0]}.{sys.version_info[1]} ".encode()
    program.write_bytes(program.read_bytes().replace(b"made_with" + here, b"made_with" + b"3.7  "))
    done = run_command(bare_python, command)
    assert done.returncode == 1
    assert "compiled with Python 3.7, and the image of this step has Python 3.1" in done.stderr


def test_a_library_that_is_missing_in_the_image(tmp_path, bare_python):
    numpy = pytest.importorskip("numpy", reason="numpy is not installed")
    for command in commands(new(add(numpy.float64(1)).set_name("n")), tmp_path).values():
        done = run_command(bare_python, command)
    assert done.returncode == 1
    assert "node 'n' cannot run" in done.stderr
    assert "the image needs 'numpy'" in done.stderr


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("task", "no module 'functionfuse.storage' is installed: pip install functionfuse-storage; the image needs it"),
        ("store", "the image needs what the store"),
    ],
)
def test_an_image_without_the_store(code, message, tmp_path, bare_python, store):
    made = new(add(1).set_name("n"), code=code)
    made.set_storage(store)
    for command in commands(made, tmp_path).values():
        done = run_command(bare_python, command)
        if done.returncode:
            break
    assert message in done.stderr


# -- programs of users

PROGRAM = """
from functionfuse import workflow
from functionfuse.backends.addons.kfpback import KFPWorkflow
import my_helper

FACTOR = 3

class Thing:
    def __init__(self, n):
        self.n = n

@workflow
def make(n):
    return Thing(my_helper.plus_one(n))

@workflow
def use(thing):
    import my_late_helper
    return my_late_helper.times(thing.n, FACTOR)

print(KFPWorkflow(use(make(1)), workflow_name="program").run())
"""


def run_program(folder, name="program.py"):
    command = [sys.executable, name]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)


def test_a_program_without_a_guard(tmp_path):
    """Its functions and classes travel by value, and are not run again."""
    (tmp_path / "program.py").write_text(PROGRAM)
    (tmp_path / "my_helper.py").write_text("def plus_one(n):\n    return n + 1\n")
    (tmp_path / "my_late_helper.py").write_text("def times(a, b):\n    return a * b\n")
    done = run_program(tmp_path)
    assert (done.stdout, done.stderr) == ("6\n", "")


def test_a_module_that_runs_itself(tmp_path):
    """A pod that imports it fails, and the message says what to do."""
    (tmp_path / "flow.py").write_text(
        "from functionfuse import workflow\n"
        "from functionfuse.backends.addons.kfpback import KFPWorkflow\n"
        "@workflow\ndef one():\n    return 1\n"
        "result = KFPWorkflow(one().set_name('n'), workflow_name='w').run()\n"
    )
    (tmp_path / "program.py").write_text("import flow\nprint(flow.result)\n")
    done = run_program(tmp_path)
    assert done.returncode == 1
    assert "put the run under if __name__ == '__main__'" in done.stderr


@pytest.mark.slow(reason="a program that is interrupted in the middle of a run")
def test_an_interrupted_program(tmp_path):
    """Ctrl-C ends it and the pod that runs."""
    (tmp_path / "program.py").write_text(
        "import os, signal\n"
        "from functionfuse import workflow\n"
        "from functionfuse.backends.addons.kfpback import KFPWorkflow\n"
        "@workflow\ndef long():\n"
        "    open('pid', 'w').write(str(os.getpid()))\n"
        "    signal.alarm(60)\n"  # ends it if nothing else does
        "    os.kill(os.getppid(), signal.SIGINT)\n"
        "    signal.pause()\n"
        "KFPWorkflow(long(), workflow_name='w').run()\n"
    )
    done = run_program(tmp_path)
    assert done.returncode != 0
    assert "KeyboardInterrupt" in done.stderr
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_a_pod_that_is_killed():
    @workflow
    def dies():
        os._exit(9)

    with pytest.raises(WorkerDiedError, match="'D 1' failed: a worker process died while it ran") as caught:
        new(dies().set_name("D 1")).run()
    assert (caught.value.name, type(caught.value.__cause__)) == ("D 1", EngineError)


def test_a_system_without_unix_sockets(monkeypatch):
    monkeypatch.delattr("socket.AF_UNIX")
    with pytest.raises(EngineError, match=r"run_local\(\) needs Linux or macOS.*compile\(\)"):
        new(add(1)).run_local()


def test_a_plugin_that_cannot_travel():
    made = new(add(1).set_name("n"))
    made.query("n").set_plugin(InitializerPlugin(threading.Lock().acquire))
    with pytest.raises(NodeError, match=r"(?s)'n' cannot be sent.*lock"):
        made.run()


def test_a_store_that_cannot_travel():
    made = new(add(1).set_name("n"))
    made.set_storage(Unsendable())
    with pytest.raises(OptionError, match="the store of the workflow cannot be sent to pods"):
        made.run()


class Unsendable(MemoryStore):
    """Holds what only this process has."""

    def __getstate__(self):
        return {"lock": threading.Lock()}


def test_a_run_in_a_pod():
    @workflow
    def inner():
        return new(add(1)).run()

    with pytest.raises(NodeError, match="imports the program") as caught:
        new(inner().set_name("n")).run()
    assert type(caught.value.__cause__) is PlanError
