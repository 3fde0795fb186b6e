"""The conformance suite of backends: behaviour that every backend shares, whatever its engine.

::

    class TestMyWorkflow(BackendTests):
        @pytest.fixture
        def make_workflow(self):
            def make(*nodes, workflow_name="conformance", **options):
                return MyWorkflow(*nodes, workflow_name=workflow_name, **options)
            return make

A standard test cannot be deleted or overridden: a backend declares what it does not support in ``unsupported``, or
marks a test that it fails ``xfail`` with a reason. Steps write to files of ``tmp_path``, which workers have to reach.
"""

from __future__ import annotations

from functionfuse.testing.backend_arguments import ArgumentTests
from functionfuse.testing.backend_collapse import CollapseTests
from functionfuse.testing.backend_coroutines import CoroutineTests
from functionfuse.testing.backend_debugging import DebuggingTests
from functionfuse.testing.backend_driver_state import DriverStateTests
from functionfuse.testing.backend_dynamic import DynamicTests
from functionfuse.testing.backend_edits import EditTests
from functionfuse.testing.backend_ending import EndingTests
from functionfuse.testing.backend_failed_inputs import FailedInputTests
from functionfuse.testing.backend_failures import FailureTests
from functionfuse.testing.backend_files import FileTests
from functionfuse.testing.backend_graphs import GraphTests
from functionfuse.testing.backend_objects import ObjectTests
from functionfuse.testing.backend_options import ObserverTests, PluginTests, QueryTests
from functionfuse.testing.backend_previews import PreviewTests
from functionfuse.testing.backend_progress import ProgressTests
from functionfuse.testing.backend_reasons import ReasonTests
from functionfuse.testing.backend_recording import CapsuleTests, RecordingTests
from functionfuse.testing.backend_resources import ResourceTests
from functionfuse.testing.backend_reuse import ReuseTests
from functionfuse.testing.backend_runs import RunRecordTests


class BackendTests(
    ArgumentTests,
    GraphTests,
    ObjectTests,
    DynamicTests,
    CoroutineTests,
    FailureTests,
    FailedInputTests,
    EndingTests,
    PluginTests,
    QueryTests,
    ObserverTests,
    ProgressTests,
    RecordingTests,
    CapsuleTests,
    EditTests,
    CollapseTests,
    ResourceTests,
    ReuseTests,
    ReasonTests,
    FileTests,
    RunRecordTests,
    PreviewTests,
    DriverStateTests,
    DebuggingTests,
    suite=True,
):
    """Subclass it as ``Test...`` with a fixture ``make_workflow``; see `BackendSuite` for what else there is."""
