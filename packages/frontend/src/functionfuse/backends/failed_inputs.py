"""Steps that run although steps whose results they take failed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from functionfuse.backends.serialization import error_of_parts, parts_of_error

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from functionfuse.backends.options import AllowFailedInputs
    from functionfuse.errors import NodeError
    from functionfuse.plan import Step


class FailedInput:
    """What a node that allows failed inputs takes in the place of a result that there is not.

    Attributes:
        name: the node whose result it is.
        error: why there is none; its ``name`` is another node's if that failed, and this one was skipped.
    """

    def __init__(self, name: str, error: NodeError) -> None:
        self.name = name
        self.error = error

    def __reduce__(self) -> tuple[Any, ...]:
        return _failed_input, (self.name, parts_of_error(self.error))

    def __repr__(self) -> str:
        return f"FailedInput({self.name!r}, {self.error!r})"


def instead_of(failed: Mapping[str, NodeError], allowed: AllowFailedInputs) -> dict[str, Any]:
    """Return what a step takes in the place of inputs that failed, by their names.

    Args:
        failed: the inputs, each with the error because of which there is no result.
        allowed: the option of the step.
    """
    return {
        name: allowed.default if allowed.has_default else FailedInput(name, error) for name, error in failed.items()
    }


def with_tolerance(steps: Sequence[Step], wanted: Collection[str]) -> list[Step]:
    """Return steps that say whether a run goes on when they fail.

    It does if all that depends on the step allows failed inputs, or can fail itself, and its result is not asked for.

    Args:
        steps: of one plan.
        wanted: names of the steps whose results are asked for.
    """
    if all(step.options.failed_inputs is None for step in steps):
        return list(steps)
    objects = {step.name: step.instance for step in steps}
    taken: set[str] = set()
    needed = set(wanted)  # without these the run fails
    marked = []
    for step in reversed(steps):
        is_tolerated = step.name in taken and step.name not in needed
        marked.append(step._replace(is_tolerated=is_tolerated) if is_tolerated else step)
        if not step.may_run:
            continue
        for name in (*step.needs, *step.after):
            taken.add(name)
            if not is_tolerated and not allows_failure_of(name, step, objects[name]):
                needed.add(name)
    return marked[::-1]


def allows_failure_of(name: str, step: Step, its_object: str | None) -> bool:
    """Return True if a step can run although another one, which it takes, failed; never without its own object.

    Args:
        name: of the other step.
        step: the step.
        its_object: the step that made the stateful object that the other one is a call of, or makes.
    """
    is_own_object = step.instance is not None and step.instance in (name, its_object)
    return step.options.failed_inputs is not None and not is_own_object


def _failed_input(name: str, error: tuple[Any, ...]) -> FailedInput:
    return FailedInput(name, error_of_parts(*error))  # type: ignore[arg-type]
