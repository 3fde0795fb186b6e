"""The conformance suite of backends: previews of results in the records of runs."""

from __future__ import annotations

import json
from typing import Any

from functionfuse.previews import Preview
from functionfuse.runs import read_run
from functionfuse.testing.backend_suite import BackendSuite, requires
from functionfuse.testing.functions import fibonacci, prints, same, unshowable
from functionfuse.testing.standard_tests import core, thorough


def previews(workflow: Any, store: Any) -> dict[str, Preview | None]:
    """Run a workflow, and return the previews in the record of the run, by the names of steps.

    Args:
        workflow: the workflow.
        store: where its record is.
    """
    workflow.set_storage(store)
    workflow.run()
    return {name: step.preview for name, step in read_run(store).steps.items()}


@requires("store")
class PreviewTests(BackendSuite, suite=True):
    """Results that were asked for are shown in the record of the run."""

    @core
    def test_results_that_were_asked_for(self, make_workflow: Any, store: Any) -> None:
        """They have previews in the run that makes them, and in one that reuses them; a query turns one off."""
        nodes = same([1, 2]).set_name("n"), same("no").set_name("off"), same(unshowable()).set_name("bad")
        workflow_ = make_workflow(*nodes)
        workflow_.query("off").set_preview(False)
        for _ in range(2):
            shown = previews(workflow_, store)
            assert shown["n"] == Preview("list", (2,), "1\n2")
            assert shown["off"] is None
            assert shown["bad"] is not None
            assert shown["bad"].text == "(no preview: ZeroDivisionError)"

    @thorough
    @requires("dynamic")
    def test_a_dynamic_node(self, make_workflow: Any, store: Any) -> None:
        """Shows what its graph made."""
        shown = previews(make_workflow(fibonacci(5).set_name("parent")), store)["parent"]
        assert shown == Preview("int", (), "5")

    @thorough
    def test_secrets(self, make_workflow: Any, store: Any, monkeypatch: Any) -> None:
        """The record of a run has no value of a secret variable, and shows none under a name that looks secret."""
        from functionfuse import Env

        monkeypatch.setenv("CONFORMANCE_TOKEN", "xyzzy-plugh")
        nodes = (
            same(Env("CONFORMANCE_TOKEN")).set_name("variable"),
            same({"password": "plover", "user": "me"}).set_name("n"),
            same("plover").set_name("password"),
            prints(Env("CONFORMANCE_TOKEN")).set_name("printed"),
        )
        shown = previews(make_workflow(*nodes), store)
        assert not any("plover" in preview.text for preview in shown.values())  # type: ignore[union-attr]
        record = read_run(store)
        assert record.steps["printed"].output.startswith("out ")
        assert "xyzzy" not in json.dumps(record.as_dict())
