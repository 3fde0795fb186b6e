"""A plan made ready for Kubeflow Pipelines: its pods, their code, and the definition of the pipeline."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import cloudpickle
from kfp.compiler import Compiler

from functionfuse.backends.driver_state import state_unlike_files
from functionfuse.backends.objects import states_of
from functionfuse.backends.options import OptionRules
from functionfuse.errors import PlanError

from ..pod.plan import PodConfig
from .caching import cache_keys
from .code import archive_code
from .limits import measure
from .origin import origin_of
from .pipeline import PipelineDefinition, make_pipeline
from .pods import pods_of, slug
from .settings import engine_retry

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from functionfuse.backends.spec import RunSpec
    from functionfuse.plan import Plan

    from .code import CodeArchive
    from .limits import Sizes
    from .pods import Pod

_MAX_NAME_LENGTH = 100  # characters of a pipeline's name; Kubernetes adds to it


class PackageOptions(NamedTuple):
    """What a workflow says of the pipeline that is made of its plan.

    Attributes:
        image: of pods that have no other.
        code: where the code comes from; see `KFPWorkflow`.
        pull_secrets: names of Secrets that images are pulled with.
        lost: by step: why a stored result is made again.
        local: whether `kfp.local` runs the pipeline.
    """

    image: str
    code: str
    pull_secrets: Sequence[str]
    lost: Mapping[str, str]
    local: bool = False


class PipelinePackage(NamedTuple):
    """A plan made ready for Kubeflow Pipelines."""

    pods: Sequence[Pod]
    code: CodeArchive
    definition: PipelineDefinition


def make_package(plan: Plan, spec: RunSpec, options: PackageOptions) -> PipelinePackage:
    """Distribute a plan over pods, serialize its code, and put that where pods get it from.

    Args:
        plan: the plan.
        spec: the run that was planned.
        options: what the workflow says of the pipeline.

    Raises:
        PlanError: a group needs its own results, or the code is too large.
        NodeError: a node cannot be pickled; it names the argument.
        OptionError: the store cannot be pickled, or settings of nodes contradict each other.
    """
    local, store, workflow_name = options.local, spec.store, spec.workflow_name
    tolerated = [step.name for step in plan if step.is_tolerated]
    checks_failures = spec.on_error == "continue" or bool(tolerated)
    pods = pods_of(plan, spec.wanted, keep_all=checks_failures)
    shared = {
        "options": spec.options,
        "store": store,
        "driver_state": state_unlike_files([step for pod in pods for step in pod.steps], cloudpickle.dumps),
    }
    config = PodConfig(
        spec=spec._replace(
            progress=None,
            steps=(),
            wanted=(),
            saved=(),
            options=OptionRules(),
            store=None,
            supports=sorted(spec.supports),  # because each process pickles a set in another order
            secret_sources=sorted(spec.secret_sources),
        ),
        lost=dict(options.lost),
        names=[name for name in plan.by_name if "/" in name],
        tolerated=tolerated,
        has_store=store is not None,
        has_driver_state=shared["driver_state"] is not None,
    )
    code = archive_code(
        pods if local else [_without_retry(pod) for pod in pods],
        states_of(plan.steps).taken,
        config,
        {name: value for name, value in shared.items() if value is not None},
    )
    definition = PipelineDefinition(
        name=slug(workflow_name, _MAX_NAME_LENGTH),
        title=workflow_name,
        pods=pods,
        origin=origin_of(code, "auto" if local and options.code == "image" else options.code, store, workflow_name),
        image=options.image,
        pull_secrets=options.pull_secrets,
        cache_keys={} if local or store is not None else cache_keys(pods, plan.steps, options.image),
        checks_failures=checks_failures,
        local=local,
    )
    return PipelinePackage(pods, code, definition)


def not_empty(package: PipelinePackage) -> PipelinePackage:
    """Return the package.

    Raises:
        PlanError: it has no pods, because all results are stored.
    """
    if not package.pods:
        raise PlanError('there is nothing to run: all results are stored; reuse="never" makes them again')
    return package


def write_package(package: PipelinePackage, path: Path, *, check_limits: bool = True) -> Sizes:
    """Write the pipeline to a YAML file, and return its sizes.

    Args:
        package: the package.
        path: path of the file.
        check_limits: whether limits of Linux, etcd and Kubeflow Pipelines are checked.

    Raises:
        PlanError: the pipeline is larger than a limit.
    """
    pipeline = make_pipeline(package.definition)
    on_command_line = len(package.code.text) if package.definition.origin.kind == "task" else 0
    sizes = measure(pipeline, package.pods, on_command_line, check=check_limits)
    Compiler().compile(pipeline, str(path))
    return sizes


def _without_retry(pod: Pod) -> Pod:
    """Return a pod without the retries that Kubeflow Pipelines makes."""
    if engine_retry(pod) is None:
        return pod
    step = pod.steps[0]
    return pod._replace(steps=[step._replace(options=step.options._replace(retry=None))])
