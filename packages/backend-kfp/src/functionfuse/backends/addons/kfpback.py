"""Run a graph on Kubeflow Pipelines v2, or under ``kfp.local``."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from functionfuse.backends.addons._kfp_code import PYTHON, pack_code
from functionfuse.backends.addons._kfp_local import run_locally
from functionfuse.backends.addons._kfp_options import KFPQuery, engine_retry
from functionfuse.backends.addons._kfp_outcomes import Outcomes, ReadOnly
from functionfuse.backends.addons._kfp_pipeline import WRITE_CODE, Build, Origin, build, cache_keys
from functionfuse.backends.addons._kfp_pods import Cargo, pods_of, slug
from functionfuse.backends.addons._kfp_wire import load
from functionfuse.backends.base import BaseWorkflow
from functionfuse.backends.objects import states_of

class KFPWorkflow(BaseWorkflow):
    query_class = KFPQuery
    def __init__(self, *nodes, workflow_name, scope="graph", baseimage=None):
        super().__init__(*nodes, workflow_name=workflow_name, scope=scope)
        self._image = baseimage or f"python:{PYTHON}"

    def run(self, *, on_error="raise", reuse="recipe"):
        self._run_options = reuse, {}
        return self._run(on_error=on_error, reuse=reuse, on=on_error, how=reuse)

    def execute(self, run, *, on, how):
        plan = run.root.plan
        go_on = on == "continue"
        pods = pods_of(plan, self._wanted(), all_ends=go_on)
        if not pods:
            return
        config = dict(workflow_name=self.workflow_name, reuse=how, on_error=on, has_store=self._store is not None, lost={}, names=[n for n in plan.by_name if "/" in n])
        shared = {"options": self._options}
        if self._store is not None: shared["store"] = self._store
        code = pack_code(pods, states_of(plan.steps).taken, config, shared)
        folder = Path(tempfile.mkdtemp(prefix="ff-"))
        b = Build(slug(self.workflow_name), self.workflow_name, pods, Origin("task", [WRITE_CODE, code.text]), self._image, (), {}, go_on, True)
        where = {cargo: (pod.key, artifact) for pod in pods for artifact, cargo in pod.outputs.items()}
        def fetch(cargo):
            key, artifact = where[cargo]
            (path,) = folder.glob(f"*/{key}/{artifact}")
            return load(path)
        outcomes = Outcomes(run, self._wanted(), fetch)
        try:
            run_locally(lambda: build(b), outcomes, folder, verbose=bool(os.environ.get("V")))
        finally:
            shutil.rmtree(folder)
        if go_on: outcomes.skip_the_rest()

    def _store_of_runs(self):
        return None if self._store is None else ReadOnly(self._store)
