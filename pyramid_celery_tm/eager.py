"""Eager tasks (``task_always_eager``): run in this process, but not before the transaction has committed.

Only then does the task find the data that its caller wrote, and only then are its own writes kept: it runs in a
transaction of its own.

Celery's canvas has no such moment: an eager group, chain or chord runs its tasks while it is called, and a chain hands
the result of one to the next. So within ``apply_async`` of a canvas each task is held, too, and its result is a promise
that stands among the arguments of the next task until both run.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Any

from celery import Task, canvas, states
from celery import result as results
from celery.result import EagerResult

from .current import Place
from .deferral import Call, Release
from .exceptions import ResultNotAvailable
from .freeze import freeze


class DeferredEagerResult(EagerResult):
    """The result of an eager call that waits for its commit; complete once the commit is done."""

    call: Call | None = None

    def ready(self) -> bool:
        """Whether the task has run."""
        return bool(self.state != states.PENDING)

    def get(self, *args: Any, **kwargs: Any) -> Any:
        """As :meth:`celery.result.EagerResult.get`, once the transaction has committed."""
        if self.ready():
            return super().get(*args, **kwargs)
        if called_by_canvas():
            return self
        raise ResultNotAvailable(f"task {self.id} has not run: its transaction has not committed")

    wait = get

    def complete(self, done: EagerResult) -> None:
        """Take over what came of the call."""
        self._result, self._state, self._traceback = done.result, done.state, done.traceback


@dataclass
class EagerCall:
    """A call that waits for its commit; ``run`` is Celery's own ``apply_async``."""

    run: Callable[..., EagerResult]
    args: Any
    kwargs: Any
    options: dict[str, Any]
    result: DeferredEagerResult
    freeze: Callable[[Any], Any]


def called_by_canvas() -> bool:
    """Whether a canvas that was called by ``apply_async``, or ``delay``, asks for this.

    An explicit ``apply()`` runs here and now, with or without a canvas. Nothing but the stack tells the two apart: an
    eager canvas comes down to ``apply()`` of each of its tasks, too.
    """
    return any(frame.f_code.co_name == "apply_async" for frame in _celery_frames())


def _celery_frames() -> Iterator[FrameType]:
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - public in all but name
    while frame is not None and frame.f_globals.get("__package__") == __package__:
        frame = frame.f_back
    while frame is not None and frame.f_globals.get("__name__") in (canvas.__name__, results.__name__):
        yield frame
        frame = frame.f_back


def hold_call(
    place: Place, run: Callable[..., EagerResult], task: Task, args: Any, kwargs: Any, options: dict[str, Any]
) -> DeferredEagerResult:
    """Run the task when the transaction has committed.

    The arguments make the same round trip as in a message, so that a test finds what a worker would refuse.
    """
    app = task.app
    serializer = options.get("serializer") or task.serializer or app.conf.task_serializer
    arguments: Any = (args or (), kwargs or {})

    def frozen(value: Any) -> Any:
        return freeze(task.name, value, serializer)

    if not any(_promises(arguments)):
        arguments = frozen(arguments)
    result = DeferredEagerResult(options["task_id"], None, states.PENDING, name=task.name)
    if app.conf.task_eager_propagates:
        managed = place.request is not None and place.request.environ.get("tm.active")
        place.calls.raise_errors_from_commit(place.request.tm if managed else None)
    result.call = place.hold(_run_each, EagerCall(run, arguments[0], arguments[1], options, result, frozen))
    return result


def _run_each(calls: Sequence[EagerCall], release: Release) -> None:
    for call in calls:
        try:
            _run(call)
        except Exception as error:  # noqa: BLE001 - with task_eager_propagates; raised again from commit()
            release.errors.append(error)
            call.result.complete(EagerResult(call.result.id, error, states.FAILURE))


def _run(call: EagerCall) -> None:
    arguments = (call.args, call.kwargs)
    for promise in _promises(arguments):
        if promise.state != states.SUCCESS:  # the chain ends here, as it does in a worker
            call.result.complete(promise)
            return
    args, kwargs = call.freeze(_kept(arguments)) if any(_promises(arguments)) else arguments
    call.result.complete(call.run(args, kwargs, **call.options))


def _promises(value: Any) -> Iterator[DeferredEagerResult]:
    if isinstance(value, DeferredEagerResult):
        yield value
    elif isinstance(value, dict):
        yield from _promises(list(value.values()))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _promises(item)


def _kept(value: Any) -> Any:
    """The value with what was promised in the places of the promises."""
    if isinstance(value, DeferredEagerResult):
        return value.result
    if isinstance(value, dict):
        return {name: _kept(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_kept(item) for item in value]
    return value
