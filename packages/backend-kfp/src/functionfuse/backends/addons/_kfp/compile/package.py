"""A plan made ready for Kubeflow Pipelines: its pods, their code, and the definition of the pipeline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from kfp.compiler import Compiler

from functionfuse.backends.objects import states_of
from functionfuse.errors import PlanError

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

    from functionfuse.plan import Plan, Ref
    from functionfuse.stores import Store

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
        store: of the workflow.
        reuse: how the plan was made: "recipe", "name" or "never".
        lost: by step: why a stored result is made again.
        node_options: the options of nodes that queries set.
        continue_on_error: whether steps that do not depend on a failure still run.
        local: whether `kfp.local` runs the pipeline.
    """

    image: str
    code: str
    pull_secrets: Sequence[str]
    store: Store | None
    reuse: str
    lost: Mapping[str, str]
    node_options: Any
    continue_on_error: bool
    local: bool = False


class PipelinePackage(NamedTuple):
    """A plan made ready for Kubeflow Pipelines."""

    pods: Sequence[Pod]
    code: CodeArchive
    definition: PipelineDefinition


def make_package(plan: Plan, wanted: Sequence[Ref], options: PackageOptions) -> PipelinePackage:
    """Distribute a plan over pods, serialize its code, and put that where pods get it from.

    Args:
        plan: the plan.
        wanted: the results that the user asked for.
        options: what the workflow says of the pipeline.

    Raises:
        PlanError: a group needs its own results, or the code is too large.
        NodeError: a node cannot be pickled; it names the argument.
        OptionError: the store cannot be pickled, or settings of nodes contradict each other.
    """
    local, store, workflow_name = options.local, options.store, plan.workflow_name
    pods = pods_of(plan, wanted, keep_all=options.continue_on_error)
    config = {
        "workflow_name": workflow_name,
        "on_error": "continue" if options.continue_on_error else "raise",
        "reuse": options.reuse,
        "lost": options.lost,
        "names": [name for name in plan.by_name if "/" in name],
        "has_store": store is not None,
    }
    code = archive_code(
        pods if local else [_without_retry(pod) for pod in pods],
        states_of(plan.steps).taken,
        config,
        {"options": options.node_options} | ({} if store is None else {"store": store}),
    )
    definition = PipelineDefinition(
        name=slug(workflow_name, _MAX_NAME_LENGTH),
        title=workflow_name,
        pods=pods,
        origin=origin_of(code, "auto" if local and options.code == "image" else options.code, store, workflow_name),
        image=options.image,
        pull_secrets=options.pull_secrets,
        cache_keys={} if local or store is not None else cache_keys(pods, plan.steps, options.image),
        continue_on_error=options.continue_on_error,
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
    options = {name: value for name, value in step.options.items() if name != "retry"}
    return pod._replace(steps=[step._replace(options=options)])
