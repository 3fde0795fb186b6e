"""The pipeline: one container component for each pod, made with the public `kfp.dsl` only."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, NamedTuple

from kfp import dsl, kubernetes

from ..pod.plan import CHECK_FAILURES
from .pods import CODE_TASK
from .settings import (
    apply_deadline,
    apply_retry,
    apply_secrets,
    apply_settings,
    engine_retry,
    settings_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .origin import CodeOrigin
    from .pods import Pod

# kfp.local's SubprocessRunner takes a command only if it mentions this; Python takes any -X.
_PYTHON = ("python3", "-X", "kfp.dsl.executor_main")

_POSITIONAL = inspect.Parameter.POSITIONAL_OR_KEYWORD


class PipelineDefinition(NamedTuple):
    """All that a pipeline is made from.

    Attributes:
        name: of the pipeline.
        title: what the dashboard shows.
        pods: in an order in which they could run.
        origin: where the code comes from.
        image: of pods that have no other.
        pull_secrets: names of Secrets that images are pulled with.
        cache_keys: by pod; a pod without one always runs.
        checks_failures: whether steps run after a failure, so that a task at the end looks for failures.
        local: whether `kfp.local` runs it; retries are then made in the pod.
    """

    name: str
    title: str
    pods: Sequence[Pod]
    origin: CodeOrigin
    image: str
    pull_secrets: Sequence[str]
    cache_keys: Mapping[str, str]
    checks_failures: bool
    local: bool


def make_pipeline(definition: PipelineDefinition) -> Any:
    """Return the pipeline, as `dsl.pipeline` makes it."""
    # Who takes failed inputs has a result, in which nothing is left of the failures.
    tolerated = {pod.key for pod in definition.pods if any(step.is_tolerated for step in pod.steps)}
    taken = {artifact for pod in definition.pods for artifact in pod.arguments if artifact[0] not in tolerated}

    def pipeline() -> None:
        made: dict[tuple[str, str], Any] = {}
        code = _code_task(definition)
        for pod in definition.pods:
            task = _pod_task(definition, pod, code, [made[artifact] for artifact in pod.arguments])
            made.update({(pod.key, artifact): task.outputs[artifact] for artifact in pod.artifacts})
        ends = [output for artifact, output in made.items() if artifact not in taken]
        if definition.checks_failures:
            check = _task(definition, CHECK_FAILURES, definition.image, code, ends, ())
            _configure(definition, check, CHECK_FAILURES, cached=False)

    pipeline.__annotations__.clear()  # which kfp does not read as text
    return dsl.pipeline(name=definition.name, display_name=definition.title)(pipeline)


def _code_task(definition: PipelineDefinition) -> Any:
    """Add the task that the code comes from; return its artifact, or None where the image has the code."""
    if definition.origin.kind == "image":
        return None
    if definition.origin.kind == "uri":
        return dsl.importer(artifact_uri=definition.origin.location, artifact_class=dsl.Artifact).outputs["artifact"]

    def container(out: Any) -> dsl.ContainerSpec:
        command = [*_PYTHON, "-c", definition.origin.program[0]]
        output = [dsl.PIPELINE_TASK_EXECUTOR_OUTPUT_PATH_PLACEHOLDER, out.path, out.uri]
        return dsl.ContainerSpec(
            image=definition.image, command=command, args=[*output, *definition.origin.program[1:]]
        )

    task = _component(CODE_TASK, {"out": dsl.Output[dsl.Artifact]}, container)()
    _configure(definition, task, CODE_TASK, cached=True)
    for pod in definition.pods if definition.origin.needs_store else ():
        apply_secrets(task, settings_of(pod.steps))
    return task.outputs["out"]


def _pod_task(definition: PipelineDefinition, pod: Pod, code: Any, inputs: Sequence[Any]) -> Any:
    settings = settings_of(pod.steps)
    task = _task(definition, pod.key, settings.get("image", definition.image), code, inputs, pod.artifacts)
    cache_key = definition.cache_keys.get(pod.key, "")
    _configure(definition, task, pod.title, cached=settings.get("caching", bool(cache_key)), cache_key=cache_key)
    apply_settings(task, settings)
    if "timeout" not in settings:
        apply_deadline(task, pod)
    retry = engine_retry(pod)
    if retry is not None and not definition.local and "retries" not in settings:
        apply_retry(task, retry)
    return task


def _task(
    definition: PipelineDefinition, key: str, image: str, code: Any, inputs: Sequence[Any], outputs: Sequence[str]
) -> Any:
    """Add a task that runs the code of a pod."""
    names = [f"in_{number}" for number in range(len(inputs))]
    given = dict(zip(names, inputs, strict=True)) | ({} if code is None else {"code": code})
    annotations = dict.fromkeys(given, dsl.Input[dsl.Artifact]) | dict.fromkeys(outputs, dsl.Output[dsl.Artifact])

    def container(*artifacts: Any) -> dsl.ContainerSpec:
        by_name = dict(zip(annotations, artifacts, strict=True))
        program = definition.origin.location if code is None else by_name["code"].path
        args = [key, dsl.PIPELINE_TASK_EXECUTOR_OUTPUT_PATH_PLACEHOLDER, *(by_name[name].path for name in names)]
        for name in outputs:
            args += [by_name[name].path, by_name[name].uri]
        return dsl.ContainerSpec(image=image, command=[*_PYTHON, program], args=args)

    return _component(key, annotations, container)(**given)


def _component(name: str, annotations: Mapping[str, Any], container: Any) -> Any:
    """Return a component made from a function that returns a container, with these parameters in its signature."""
    parameters = [inspect.Parameter(name, _POSITIONAL, annotation=kind) for name, kind in annotations.items()]
    container.__name__ = name
    container.__signature__ = inspect.Signature(parameters, return_annotation=dsl.ContainerSpec)
    container.__annotations__ = {**annotations, "return": dsl.ContainerSpec}
    return dsl.container_component(container)


def _configure(definition: PipelineDefinition, task: Any, title: str, *, cached: bool, cache_key: str = "") -> None:
    """Set what every task has: its title, its caching, and how its image is pulled."""
    task.set_display_name(title)
    task.set_caching_options(cached, cache_key=cache_key or None)
    if definition.pull_secrets:
        kubernetes.set_image_pull_secrets(task, list(definition.pull_secrets))
