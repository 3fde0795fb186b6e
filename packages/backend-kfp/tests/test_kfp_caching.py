"""Reuse through the cache of Kubeflow Pipelines, as kfp.local 2.17 has one too."""

from __future__ import annotations

import inspect

import pytest
from kfp import local
from kfp_functions import add

from functionfuse.backends.addons.kfpback import KFPWorkflow

needs_cache = pytest.mark.skipif(
    "enable_caching" not in inspect.signature(local.init).parameters, reason="this kfp.local has no cache"
)


@needs_cache
def test_the_cache_goes_by_the_recipe(tmp_path, capfd):
    """Equal calls are taken from the cache, whatever else changed in the code; a new argument is not."""

    def run(last):
        local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(tmp_path), enable_caching=True)
        first = add(1, 1).set_name("first")
        KFPWorkflow(add(first, last).set_name("second"), workflow_name="cached").generate_pipeline()()
        return capfd.readouterr().out.count("Streamed logs")  # once for each process

    executed = [run(last) for last in (1, 1, 2)]
    assert executed == [3, 0, 2]  # the code and both nodes; nothing; the code and the second node
