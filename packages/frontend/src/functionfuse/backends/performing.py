"""Making calls: with plugin, retries, time limit, environment variables, and what is recorded of them."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from functools import partial
from types import CoroutineType
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from functionfuse.backends.attempts import NotAsGiven, Snapshot
from functionfuse.backends.calls import INTERRUPTS, Call, Expansion, Outcome, argument_check, evaluate
from functionfuse.backends.coroutines import CLEANUP, awaited, run_to_end
from functionfuse.backends.limits import limited
from functionfuse.backends.secrets import resolved

T = TypeVar("T")
Attempt: TypeAlias = "tuple[Any, Any, BaseException | None]"
"""The result, the stateful object after the call, and what was raised."""

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Mapping

    from functionfuse.backends.options import Retry
    from functionfuse.backends.recording import Recording
    from functionfuse.backends.secrets import Secret


def perform(call: Call) -> Outcome:
    """Run one step where this is called, with its plugin, retries and time limit.

    Every engine calls it where a step runs. It never raises what the user's function raises, but for interrupts. A
    coroutine runs to its end, on an event loop of its own.
    """
    if call.recording is None and call.retry is None:  # most calls: a coroutine would take longer than many functions
        start = time.perf_counter()
        value, instance, error = _attempt(call)
        return Outcome(value, instance, error, time.perf_counter() - start)
    return _result_of(_performed(call, on_loop=False))


def call_once(call: Call) -> tuple[Any, Any]:
    """Make a call once where this is called, with its plugin, environment variables, time limit and check of arguments.

    Returns:
        Its result, and the stateful object.

    Raises:
        BaseException: whatever the user's function raises.
    """
    value, instance, error = _attempt(call)
    if error is not None:
        raise error
    return value, instance


def _result_of(coroutine: Coroutine[Any, Any, T]) -> T:
    """Return the result of a coroutine that awaits nothing."""
    try:
        coroutine.send(None)
    except StopIteration as ended:
        result: T = ended.value
        return result
    raise AssertionError("nothing is awaited but on a loop")


async def perform_on_loop(call: Call) -> Outcome:
    """Run one step as `perform` does, of a coroutine function, on the event loop that runs."""
    return await _performed(call, on_loop=True)


async def _performed(call: Call, *, on_loop: bool) -> Outcome:
    if call.recording is not None and call.recording.running:
        return await _reported(call, call.recording, on_loop=on_loop)
    if call.recording is not None:
        return await _recorded(call._replace(recording=None), call.recording, on_loop=on_loop)
    start = time.perf_counter()
    if call.retry is not None:
        return await _persistently(call, call.retry, start, on_loop=on_loop)
    value, instance, error = await _attempt_on_loop(call) if on_loop else _attempt(call)
    return Outcome(value, instance, error, time.perf_counter() - start)


async def _persistently(call: Call, retry: Retry, start: float, *, on_loop: bool) -> Outcome:
    """Run a step until it succeeds or its attempts are used up; each starts from the arguments as they were given."""
    if retry.pause:
        await _sleep(retry.pause, on_loop=on_loop)
    snapshot = Snapshot(call.instance, call.args, call.kwargs)
    attempt = 0
    while True:
        attempt += 1
        value, instance, error = await _attempt_on_loop(call) if on_loop else _attempt(call)
        outcome = Outcome(value, instance, error, time.perf_counter() - start, attempt)
        if error is None or attempt > retry.times or not isinstance(error, retry.exceptions):
            return outcome
        try:
            instance, args, kwargs = snapshot.restored()
            call = call._replace(instance=instance, args=args, kwargs=kwargs)
        except NotAsGiven as reason:
            error.add_note(f"not tried again: {reason}")
            return outcome
        del outcome, error  # whose traceback holds the arguments
        await _sleep(retry.delay * retry.backoff ** (attempt - 1), on_loop=on_loop)


async def _sleep(seconds: float, *, on_loop: bool) -> None:
    if on_loop:
        import asyncio

        await asyncio.sleep(seconds)
    else:
        time.sleep(seconds)


def _attempt(call: Call) -> Attempt:
    """Make a call where this is called, to its end; see `Attempt`."""
    timeout, is_async = call.timeout, call.target.is_async
    try:
        if call.environment:
            with _variables(call.environment):
                return _attempt(call._replace(environment={}))
        check = argument_check(call.args, call.kwargs) if call.check_arguments else None
        if timeout is None:
            value = _called(call, run_to_end)
        else:
            work = partial(_called, call, partial(run_to_end, seconds=timeout))
            value = limited(work, timeout, grace=CLEANUP if is_async else 0.0)
        if check is not None:
            check.refuse_changes()
    except INTERRUPTS:
        raise
    except BaseException as error:
        return None, None, error
    return value, value if call.target.kind == "constructor" else call.instance, None


async def _attempt_on_loop(call: Call) -> Attempt:
    """Make a call on the event loop that runs; see `Attempt`."""
    try:
        if call.environment:
            with _variables(call.environment):
                return await _attempt_on_loop(call._replace(environment={}))
        check = argument_check(call.args, call.kwargs) if call.check_arguments else None
        value = _called(call, lambda coroutine: coroutine)
        if type(value) is CoroutineType:
            value = await awaited(value, call.timeout)
        if check is not None:
            check.refuse_changes()
    except INTERRUPTS:
        raise
    except BaseException as error:
        return None, None, error
    return value, call.instance, None


def _called(call: Call, finish: Callable[[Coroutine[Any, Any, Any]], Any]) -> Any:
    """Return what a call comes to.

    Args:
        call: the call.
        finish: called if the function returns a coroutine, with one whose result is the value.
    """
    target, args, kwargs, instance, initialize = call[:5]
    if initialize is not None:
        initialize()
    if target.kind == "method":
        return evaluate(getattr(instance, target.name), args, kwargs, None, finish)  # type: ignore[union-attr]
    return evaluate(target.function, args, kwargs, target.cls if target.kind == "constructor" else None, finish)  # type: ignore[union-attr]


@contextmanager
def _variables(environment: Mapping[str, str | Secret]) -> Iterator[None]:
    """Set environment variables for a while."""
    from functionfuse.backends.surroundings import set_variable  # which few calls need

    before = {name: os.environ.get(name) for name in environment}
    os.environ.update(resolved(environment))
    try:
        yield
    finally:
        for name, value in before.items():
            set_variable(name, value)


async def _reported(call: Call, recording: Recording, *, on_loop: bool) -> Outcome:
    """Perform a call, and report meanwhile that it runs."""
    from functionfuse.backends.running_calls import running  # which is needed where somebody looks

    with running(recording.running, recording.name):
        left = recording._replace(running="") if recording.records else None
        return await _performed(call._replace(recording=left), on_loop=on_loop)


async def _recorded(call: Call, recording: Recording, *, on_loop: bool) -> Outcome:
    from functionfuse.backends.recording import CallRecord, Recorder  # which takes long to import

    with Recorder() as recorder:
        outcome = await _performed(call, on_loop=on_loop)
    record = CallRecord(recorder.usage(outcome.seconds), recorder.output())
    if outcome.error is not None and recording.pickler:
        from functionfuse.backends.capsule_making import with_capsule  # which is needed after a failure only

        record = with_capsule(record, call, outcome.error, recording)
    preview = recording.preview if outcome.seconds >= recording.preview_after else None
    if preview is not None and outcome.error is None and type(outcome.value) is not Expansion:
        record = record._replace(preview=preview(outcome.value, recording.name, call.target.qualname))
    return outcome._replace(record=record)
