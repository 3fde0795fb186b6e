"""A workflow's code as one zip: the program of pods, each pod's part of the plan, and the user's own modules."""

from __future__ import annotations

import base64
import bz2
import functools
import hashlib
import io
import json
import pickle
import sys
import zipfile
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import cloudpickle

import functionfuse
from functionfuse.backends.options import NO_OPTIONS
from functionfuse.backends.plugins import InitializerPlugin, initializer
from functionfuse.backends.recordings import is_stored
from functionfuse.backends.serialization import by_name, reduced_code, unserializable
from functionfuse.errors import NodeError, OptionError, StorageError
from functionfuse.fingerprint.code import facts_of
from functionfuse.fingerprint.modules import absolute_names
from functionfuse.fingerprint.project import in_project

from ..pod.plan import FORMAT, PodPlan
from .settings import settings_of
from .sources import frontend_sources, imports_in, project_sources, with_folders

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from functionfuse.plan import Step

    from ..pod.plan import PodConfig
    from .pods import Pod

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
_MAIN = Path(__file__).parents[1] / "pod" / "main.py"
_DATE = (1980, 1, 1, 0, 0, 0)  # equal code makes equal bytes


class CodeArchive:
    """The zip of one workflow's code; its entries are not compressed, so that a pod starts fast."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    @functools.cached_property
    def digest(self) -> str:
        """The SHA-256 of the zip, from which its name is made."""
        return hashlib.sha256(self.data).hexdigest()

    @functools.cached_property
    def text(self) -> str:
        """The zip as text for a command line."""
        return base64.b64encode(bz2.compress(self.data)).decode()


def archive_code(
    pods: Sequence[Pod],
    states: Mapping[str, Mapping[str, str]],
    config: PodConfig,
    shared: Mapping[str, Any],
) -> CodeArchive:
    """Return the code of pods.

    Args:
        pods: the pods, with those options that they apply themselves.
        states: by step, by object: the step after which it takes the object's state.
        config: what every pod has to know.
        shared: by name: what else is pickled for all pods, such as the store.

    Raises:
        NodeError: a step cannot be pickled; it names the argument.
        OptionError: the store, or the options of queries, cannot be pickled.
    """
    serializer = _StepSerializer({step.name for pod in pods for step in pod.steps if is_stored(step)})
    entries = {f"pods/{pod.key}": serializer.pod(pod, states) for pod in pods}
    entries |= {f"targets/{number}": data for number, data in enumerate(serializer.targets)}
    entries |= {name: serializer.shared(name, value) for name, value in shared.items()}
    entries["config"] = pickle.dumps(config)
    entries["made_with"] = f"{PYTHON} {functionfuse.__version__} {FORMAT}".encode()
    for pod in pods:
        settings = _settings(pod)
        if any(settings.values()):
            entries[f"settings/{pod.key}"] = json.dumps(settings).encode()
    sources = {**project_sources(serializer.modules), **frontend_sources()}
    sources["__main__.py"] = _MAIN.read_bytes()
    return CodeArchive(_zipped({**entries, **dict.fromkeys(with_folders(sources), b""), **sources}))


def _settings(pod: Pod) -> dict[str, Any]:
    """Return the settings that a pod applies before its code is unpickled."""
    settings = settings_of(pod.steps)
    return {"env": settings.get("env", {}), "packages": list(settings.get("packages", ()))}


class _StepSerializer:
    """Serializes steps, and each function once, however many nodes call it.

    Args:
        stored: names of the steps whose results are stored, where there is a store.

    Attributes:
        targets: what steps call, serialized.
        modules: names of the modules that they refer to.
    """

    def __init__(self, stored: Collection[str]) -> None:
        self._stored = stored
        self.targets: list[bytes] = []
        self.modules: set[str] = set()
        self._numbers: dict[int, int] = {}

    def pod(self, pod: Pod, states: Mapping[str, Mapping[str, str]]) -> bytes:
        """Serialize a pod's part of the plan."""
        numbers = [self.target(step) for step in pod.steps]
        arguments = pod.arguments
        try:
            pod_plan = PodPlan(
                [_for_travel(step) for step in pod.steps],
                numbers,
                [_stored(step) for step in pod.stored],
                {step.name: states[step.name] for step in pod.steps if step.name in states},
                {(output.step, output.instance): arguments.index(artifact) for output, artifact in pod.inputs.items()},
                {(output.step, output.instance): artifact for output, artifact in pod.outputs.items()},
                [output.step for output in pod.inputs if output.instance is None and output.step in self._stored],
                pod.is_group,
            )
            return pickle.dumps(([step.name for step in pod.steps], self.dumps(tuple(pod_plan))))
        except Exception as error:
            for step in pod.steps:
                self.check(step)
            raise NodeError(f"node {pod.title!r} cannot be sent to another process: {error}") from error

    def target(self, step: Step) -> int:
        """Serialize what a step calls, and return its number."""
        number = self._numbers.get(id(step.target))  # the plan keeps the target, and so its id
        if number is None:
            try:
                data = self.dumps(step.target)
            except Exception as error:
                raise self.unserializable(step, error) from error
            number = self._numbers[id(step.target)] = len(self.targets)
            self.targets.append(data)
            self.modules.update(_imports_around(step))
        return number

    def check(self, step: Step) -> None:
        """Raise NodeError, which names the argument, if a step cannot be pickled."""
        try:
            self.dumps((step.args, step.kwargs, step.options))
        except Exception as error:
            raise self.unserializable(step, error) from error

    def unserializable(self, step: Step, problem: Exception) -> NodeError:
        options = {f"option {name!r}": value for name, value in step.options.given().items()}
        return unserializable(step, step.name, self.dumps, problem, options)

    def shared(self, name: str, value: Any) -> bytes:
        """Serialize what all pods have."""
        try:
            return self.dumps(value)
        except StorageError:
            raise
        except Exception as error:
            raise OptionError(f"the {name} of the workflow cannot be sent to pods: {error}") from error

    def dumps(self, value: Any) -> bytes:
        """Serialize a value, and note the modules that it refers to."""
        stream = io.BytesIO()
        _ModulePickler(stream, self.modules).dump(value)
        return stream.getvalue()


class _ModulePickler(cloudpickle.Pickler):  # type: ignore[misc]  # without types
    def __init__(self, file: io.BytesIO, modules: set[str]) -> None:
        super().__init__(file, protocol=5)
        self._modules = modules

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, ModuleType):
            self._modules.add(obj.__name__)
        else:
            module = getattr(obj, "__module__", None)
            if isinstance(module, str) and module != "__main__":
                self._modules.add(module)
        return by_name(obj) or reduced_code(obj, self) or super().reducer_override(obj)


def _for_travel(step: Step) -> Step:
    """Return a step without its target and the settings of its pod, with its plugin prepared."""
    options = step.options._replace(engine={})
    if options.plugin is not None:
        options = options._replace(plugin=InitializerPlugin(initializer(options.plugin, step.name)))
    return step._replace(target=None, options=options if options.given() else NO_OPTIONS)  # type: ignore[arg-type]


def _stored(step: Step) -> Step:
    """Return a step that does not run, with the kind of its target instead of the target."""
    kind: Any = step.target.kind
    return step._replace(
        target=kind, args=(), kwargs={}, needs=(), after=(), options=NO_OPTIONS, resumes={}, recipe=None
    )


def _imports_around(step: Step) -> list[str]:
    """Return the modules that a function which travels by value may import when it runs."""
    target = getattr(step.target, "owner", step.target)
    module = target.__module__
    if module == "__main__":
        code = getattr(getattr(step.target, "function", None), "__code__", None)
        imports = [] if code is None else facts_of(code).imports
        return ["__main__", *(name for one in imports for name in absolute_names(one, ""))]
    if "<locals>" not in target.qualname or not in_project(module):
        return []
    file = getattr(sys.modules.get(module), "__file__", None)
    return imports_in(Path(file).read_bytes(), module.rpartition(".")[0]) if file else []


def _zipped(entries: Mapping[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, data in entries.items():
            archive.writestr(zipfile.ZipInfo(name, _DATE), data)
    return stream.getvalue()
