"""The conformance suite guards itself, and its doubles do what they are for."""

from __future__ import annotations

import subprocess
import sys
from functools import partial

import pytest

from functionfuse.backends.base import BaseWorkflow
from functionfuse.backends.ready import Ready
from functionfuse.testing import BackendTests, MemoryStore, RefusingWorkflow, StoreTests, wait_until
from functionfuse.testing.backend_suite import CAPABILITIES
from functionfuse.testing.functions import add, same


class Backwards(BaseWorkflow):
    """Runs what is ready, the latest first: another legal order than that of the plan."""

    def execute(self, run, **engine):
        ready = Ready(run)
        while not run.stopped:
            tasks = [*iter(ready.pop, None)]
            if not tasks:
                return
            for task in reversed(tasks):
                if run.stopped:
                    return
                run.perform_here(task)


class TestAnotherOrder(BackendTests):
    """Results depend on the graph alone, and not on which of the ready steps comes first."""

    in_process = True
    chain_length = 5_000

    @pytest.fixture
    def make_workflow(self):
        return partial(Backwards, workflow_name="conformance")


SUITES = [(BackendTests, "test_running_twice"), (StoreTests, "test_has_task")]


def replacement(self):
    pass


@pytest.mark.parametrize(("suite", "name"), SUITES)
@pytest.mark.parametrize("other", [replacement, None])
def test_a_standard_test_cannot_be_replaced_or_deleted(suite, name, other):
    with pytest.raises(TypeError, match=f"Implementation replaces the standard test '{name}'"):
        type("Implementation", (suite,), {name: other})


@pytest.mark.parametrize(("suite", "name"), SUITES)
def test_a_standard_test_cannot_be_replaced_by_a_mixin(suite, name):
    mixin = type("Mixin", (), {name: replacement})
    with pytest.raises(TypeError, match=name):
        type("Implementation", (mixin, suite), {})


@pytest.mark.parametrize(("suite", "name"), SUITES)
def test_an_expected_failure_needs_a_reason(suite, name):
    def failing(self):
        pass

    with pytest.raises(TypeError, match=name):
        type("Implementation", (suite,), {name: pytest.mark.xfail(failing)})
    expected = pytest.mark.xfail(reason="the engine forgets")(failing)
    assert getattr(type("Excused", (suite,), {name: expected}), name) is expected


def test_tests_of_ones_own_may_be_added_and_changed():
    class Implementation(BackendTests):
        def test_my_engine(self):
            return "own"

    class Child(Implementation):
        def test_my_engine(self):
            return "changed"

    assert [cls().test_my_engine() for cls in (Implementation, Child)] == ["own", "changed"]


def test_a_missing_capability_skips_with_its_reason(pytester_like):
    lines = pytester_like(
        """
        from functools import partial
        import pytest
        from functionfuse.testing import BackendTests, RefusingWorkflow

        class TestRefusing(BackendTests):
            unsupported = {"timeout": "this engine has no clock"}

            @pytest.fixture
            def make_workflow(self):
                return partial(RefusingWorkflow, workflow_name="conformance")
        """,
        "-k",
        "test_a_time_limit or test_the_quick_start",
    )
    assert "this engine has no clock" in lines
    assert "1 failed, 3 skipped" in lines
    assert "'node1' would have to run: no store is set" in lines


def test_an_unknown_capability_is_refused(pytester_like):
    lines = pytester_like(
        """
        from functionfuse.testing import BackendTests

        class TestWrong(BackendTests):
            unsupported = {"clock": "none"}
        """,
        "-k",
        "test_the_quick_start",
    )
    assert "unknown capabilities ['clock']" in lines


@pytest.fixture
def pytester_like(tmp_path):
    """Run pytest on a file, in a process of its own."""

    def run(source, *options):
        import textwrap

        file = tmp_path / "test_implementation.py"
        file.write_text(textwrap.dedent(source))
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rs", str(file), *options]
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path).stdout

    return run


def test_every_capability_is_required_somewhere():
    required = set()
    for name in dir(BackendTests):
        required |= set(getattr(getattr(BackendTests, name), "required", ()))
    assert required == set(CAPABILITIES)


def test_the_refusing_workflow_names_the_step():
    with pytest.raises(AssertionError, match="'first' would have to run: no store is set"):
        RefusingWorkflow(add(same(1).set_name("first"), 1), workflow_name="w").run()


def test_the_refusing_workflow_returns_what_is_stored():
    store, node = MemoryStore(), same(5).set_name("n")
    flow = Backwards(node, workflow_name="w")
    flow.set_storage(store)
    flow.run()
    refusing = RefusingWorkflow(node, workflow_name="w")
    refusing.set_storage(store)
    assert refusing.run() == 5


def test_the_doubles_need_no_pytest():
    code = (
        "import sys; from functionfuse.testing import MemoryStore, RefusingWorkflow; sys.exit('pytest' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_what_is_not_in_the_package():
    import functionfuse.testing

    with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
        functionfuse.testing.Nonsense  # noqa: B018


def test_waiting_returns_what_the_condition_returned():
    values = iter([None, 0, "here", "later"])
    assert wait_until(lambda: next(values), interval=0) == "here"


def test_waiting_gives_up_and_names_the_condition():
    def never():
        return ""

    with pytest.raises(TimeoutError, match=r"never did not become true within 0 seconds; it returned ''"):
        wait_until(never, 0)
