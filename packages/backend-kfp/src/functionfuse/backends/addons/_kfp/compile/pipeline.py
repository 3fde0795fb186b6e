"""The pipeline: one container component for each pod, made with the public ``kfp.dsl`` only."""

from __future__ import annotations

import inspect
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple

from kfp import dsl, kubernetes

from functionfuse.fingerprint import RecipeBook, Unfingerprintable

from .options import (
    apply_deadline,
    apply_retry,
    apply_secrets,
    apply_settings,
    engine_retry,
    settings_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from functionfuse.plan import Step

    from .pods import Pod

# kfp.local's SubprocessRunner takes a command only if it mentions this; Python takes any -X.
_PYTHON = ("python3", "-X", "kfp.dsl.executor_main")

_POSITIONAL = inspect.Parameter.POSITIONAL_OR_KEYWORD


class Origin(NamedTuple):
    """Where pods get the code from.

    Attributes:
        kind: "task" (a root task writes it), "uri" (an object that is imported) or "image" (it is in the image).
        place: program and arguments of the root task, the address of the object, or the path in the image.
        needs_store: whether the root task reads from the store.
    """

    kind: str
    place: Any
    needs_store: bool = False


class Build(NamedTuple):
    """All that a pipeline is made from.

    Attributes:
        name: of the pipeline.
        title: what the dashboard shows.
        pods: in an order in which they could run.
        origin: where the code comes from.
        image: of pods that have no other.
        pull_secrets: names of Secrets that images are pulled with.
        cache_keys: by pod; a pod without one always runs.
        go_on: whether steps that do not depend on a failure still run.
        local: whether ``kfp.local`` shall run it, where retries are made in the pod.
    """

    name: str
    title: str
    pods: Sequence[Pod]
    origin: Origin
    image: str
    pull_secrets: Sequence[str]
    cache_keys: Mapping[str, str]
    go_on: bool
    local: bool


def build(plan: Build) -> Any:
    """Return the pipeline, as what ``dsl.pipeline`` makes of a function."""
    needed = {artifact for pod in plan.pods for artifact in pod.arguments}

    def pipeline() -> None:
        made: dict[tuple[str, str], Any] = {}
        code = _code_task(plan)
        for pod in plan.pods:
            task = _pod_task(plan, pod, code, [made[artifact] for artifact in pod.arguments])
            made.update({(pod.key, artifact): task.outputs[artifact] for artifact in pod.artifacts})
        ends = [output for artifact, output in made.items() if artifact not in needed]
        if plan.go_on:
            _finished(plan, _task(plan, "verdict", plan.image, code, ends, ()), "verdict", cached=False)

    pipeline.__annotations__.clear()  # which kfp does not read as text
    return dsl.pipeline(name=plan.name, display_name=plan.title)(pipeline)


def _code_task(plan: Build) -> Any:
    """Add the task that the code comes from; return its artifact, or None where the image has the code."""
    if plan.origin.kind == "image":
        return None
    if plan.origin.kind == "uri":
        return dsl.importer(artifact_uri=plan.origin.place, artifact_class=dsl.Artifact).outputs["artifact"]

    def container(out: Any) -> dsl.ContainerSpec:
        command = [*_PYTHON, "-c", plan.origin.place[0]]
        where = [dsl.PIPELINE_TASK_EXECUTOR_OUTPUT_PATH_PLACEHOLDER, out.path, out.uri]
        return dsl.ContainerSpec(image=plan.image, command=command, args=[*where, *plan.origin.place[1:]])

    task = _component("code", {"out": dsl.Output[dsl.Artifact]}, container)()
    _finished(plan, task, "code", cached=True)
    for pod in plan.pods if plan.origin.needs_store else ():
        apply_secrets(task, settings_of(pod.steps))
    return task.outputs["out"]


def _pod_task(plan: Build, pod: Pod, code: Any, inputs: Sequence[Any]) -> Any:
    settings = settings_of(pod.steps)
    task = _task(plan, pod.key, settings.get("image", plan.image), code, inputs, pod.artifacts)
    cache_key = plan.cache_keys.get(pod.key, "")
    _finished(plan, task, pod.title, cached=settings.get("caching", bool(cache_key)), cache_key=cache_key)
    apply_settings(task, settings)
    if "timeout" not in settings:
        apply_deadline(task, pod)
    retry = engine_retry(pod)
    if retry is not None and not plan.local and "retries" not in settings:
        apply_retry(task, retry)
    return task


def _task(plan: Build, key: str, image: str, code: Any, inputs: Sequence[Any], outputs: Sequence[str]) -> Any:
    """Add a task that runs the code of a pod."""
    names = [f"in_{number}" for number in range(len(inputs))]
    given = dict(zip(names, inputs, strict=True)) | ({} if code is None else {"code": code})
    annotations = dict.fromkeys(given, dsl.Input[dsl.Artifact]) | dict.fromkeys(outputs, dsl.Output[dsl.Artifact])

    def container(*places: Any) -> dsl.ContainerSpec:
        by_name = dict(zip(annotations, places, strict=True))
        program = plan.origin.place if code is None else by_name["code"].path
        args = [key, dsl.PIPELINE_TASK_EXECUTOR_OUTPUT_PATH_PLACEHOLDER, *(by_name[name].path for name in names)]
        for name in outputs:
            args += [by_name[name].path, by_name[name].uri]
        return dsl.ContainerSpec(image=image, command=[*_PYTHON, program], args=args)

    return _component(key, annotations, container)(**given)


def _component(name: str, annotations: Mapping[str, Any], container: Any) -> Any:
    """Make a component of a function that returns a container, as if it had been written with these parameters."""
    parameters = [inspect.Parameter(name, _POSITIONAL, annotation=kind) for name, kind in annotations.items()]
    container.__name__ = name
    container.__signature__ = inspect.Signature(parameters, return_annotation=dsl.ContainerSpec)
    container.__annotations__ = {**annotations, "return": dsl.ContainerSpec}
    return dsl.container_component(container)


def _finished(plan: Build, task: Any, title: str, *, cached: bool, cache_key: str = "") -> None:
    """Give a task what all of them have."""
    task.set_display_name(title)
    task.set_caching_options(cached, cache_key=cache_key or None)
    if plan.pull_secrets:
        kubernetes.set_image_pull_secrets(task, list(plan.pull_secrets))


def cache_keys(pods: Iterable[Pod], steps: Sequence[Step], image: str) -> dict[str, str]:
    """Return what each pod's outputs depend on, as one text; pods that hold a step without a recipe have none."""
    book, digests = RecipeBook(), {}
    for step in steps:
        try:
            if step.options.get("never") or step.options.get("log"):
                book.leave_out(step)
            else:
                digests[step.name] = book.write(step, step.name).digest
        except Unfingerprintable:
            book.leave_out(step)
    keys = {}
    for pod in pods:
        if all(step.name in digests for step in pod.steps):
            settings = settings_of(pod.steps)
            facts = [digests[step.name] for step in pod.steps]
            facts += [settings.get("image", image), *settings.get("packages", ()), repr(list(pod.outputs.items()))]
            keys[pod.key] = sha256("\0".join(facts).encode()).hexdigest()
    return keys
