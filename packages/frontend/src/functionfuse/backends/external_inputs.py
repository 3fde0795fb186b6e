"""Files and environment variables among the arguments of steps: what runs needs them, as the plan counted them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from functionfuse.backends.texts import looks_secret
from functionfuse.containers import ATOMS, Nest, rebuild
from functionfuse.file_check import files_used, found_in
from functionfuse.plan import Ref

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from functionfuse.plan import Step

_PLAIN = ATOMS | {Ref}
_SHORTEST_SECRET = 4  # characters; shorter ones are in too many words


def with_external_inputs(
    steps: Sequence[Step], backend: str, *, shares_files: bool, has_recipes: bool
) -> Sequence[Step]:
    """Return steps whose arguments have the values of environment variables, and files with the content of now.

    Those that lack one of them are blocked, and those that need them.

    Args:
        steps: with actions.
        backend: the name of the backend.
        shares_files: whether its workers have the files of this machine.
        has_recipes: whether recipes, and with them the content of files, are those of another process.
    """
    if not files_used():
        return steps
    blocked: dict[str, str] = {}
    done = []
    for step in steps:
        if step.may_run:
            why = _missing(step, backend, shares_files=shares_files)
            parent = next((name for name in (*step.needs, *step.after) if name in blocked), None)
            if why or parent:
                blocked[step.name] = why or f"needs {parent!r}, which is blocked"
                step = step._replace(action="blocked", reason=blocked[step.name])
            else:
                step = _with_values(step, counts_files=step.recipe is not None and not has_recipes)
        done.append(step)
    return done


def external_inputs(step: Step) -> str:
    """Return the files and variables among the arguments of a step, as words in brackets; "" if there are none."""
    found = _found((*step.args, *step.kwargs.values())) if files_used() else []
    return f" ({', '.join(dict.fromkeys(map(repr, found)))})" if found else ""


def secrets_of(steps: Iterable[Step]) -> set[str]:
    """Return the values of variables among the arguments of steps whose names look secret.

    A process that gets the steps with values in place of variables leaves them out of messages as well, once they are
    among its `functionfuse.files.secret_values`.

    Args:
        steps: with the variables themselves.
    """
    if not files_used():
        return set()
    from functionfuse.files import Env

    found = [one for step in steps for one in _found((*step.args, *step.kwargs.values())) if isinstance(one, Env)]
    return {env.value for env in found if _is_secret(env.name, env.value)}


def changed_file(arguments: Iterable[Any]) -> str:
    """Return the file among arguments whose content is not what the recipe counted; "" if there is none.

    Args:
        arguments: of a step, or of a call.
    """
    if not files_used():
        return ""
    from functionfuse.files import File

    for file in _found(arguments):
        if isinstance(file, File) and file._digest:
            try:
                if file.content() != file._digest:
                    return repr(file)
            except OSError:
                return repr(file)
    return ""


def _found(arguments: Iterable[Any]) -> list[Any]:
    from functionfuse.files import Env, File

    return found_in([arg.value if type(arg) is Nest else arg for arg in arguments], (File, Env))


def _is_secret(name: str, value: str) -> bool:
    return looks_secret(name) and len(value) >= _SHORTEST_SECRET


def _missing(step: Step, backend: str, *, shares_files: bool) -> str:
    """Return what a step lacks; "" if it lacks nothing."""
    if _PLAIN.issuperset(map(type, step.args)) and not step.kwargs:
        return ""
    for found in _found((*step.args, *step.kwargs.values())):
        problem = _problem(found, backend, shares_files=shares_files)
        if problem:
            return f"argument {_parameter(step, found)!r}: {problem}"
    return ""


def _problem(found: Any, backend: str, *, shares_files: bool) -> str:
    from functionfuse.errors import UsageError
    from functionfuse.files import Env

    if isinstance(found, Env):
        try:
            value = found.value
        except UsageError as error:
            return str(error)
        if _is_secret(found.name, value):
            from functionfuse.files import secret_values

            secret_values.add(value)
        return ""
    try:
        found.content()
    except FileNotFoundError:
        return f"{found!r} does not exist"
    except OSError as error:
        return f"{found!r} cannot be read: {error.strerror}"
    if found.ship or shares_files:
        return ""
    return f"{backend} runs nodes on machines that do not have {found!r}; File(path, ship=True) takes the content along"


def _parameter(step: Step, found: Any) -> str | int:
    """Return the name of the parameter that gets a file or variable."""
    bound = step.target.check.signature().bind(*step.args, **step.kwargs)
    for name, value in bound.arguments.items():
        if any(one is found for one in _found((value,))):
            return name
    return step.name


def _with_values(step: Step, *, counts_files: bool) -> Step:
    if _PLAIN.issuperset(map(type, step.args)) and not step.kwargs:
        return step
    from functionfuse.files import Env, File

    def with_value(item: Any) -> Any:
        if type(item) is Env:
            return item.value
        return item._counted(item.content()) if type(item) is File and counts_files else item

    if not _found((*step.args, *step.kwargs.values())):
        return step
    args = tuple([_rebuilt(value, with_value) for value in step.args])
    return step._replace(args=args, kwargs={key: _rebuilt(value, with_value) for key, value in step.kwargs.items()})


def _rebuilt(value: Any, leaf: Callable[[Any], Any]) -> Any:
    return Nest(rebuild(value.value, leaf)) if type(value) is Nest else rebuild(value, leaf)
