"""Eager tasks (``task_always_eager``): run in this process, but not before the transaction has committed.

Only then does the task find the data that its caller wrote, and only then are its own writes kept: it runs in a
transaction of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from celery import Task, states
from celery.result import EagerResult

from .current import Place
from .deferral import Call, Held, Release
from .exceptions import ResultNotAvailable
from .freeze import freeze


class DeferredEagerResult(EagerResult):
    """The result of an eager call that waits for its commit; complete once the commit is done."""

    call: Call | None = None

    def ready(self) -> bool:
        """Whether the task has run."""
        return self.state != states.PENDING

    def get(self, *args: Any, **kwargs: Any) -> Any:
        """As :meth:`celery.result.EagerResult.get`, once the transaction has committed."""
        if self.call is not None and self.call.state is not Held.RELEASED:
            raise ResultNotAvailable(f"task {self.id} has not run: its transaction has not committed")
        return super().get(*args, **kwargs)

    wait = get


@dataclass
class EagerCall:
    """A call that waits for its commit; ``run`` is Celery's own ``apply_async``."""

    run: Callable[..., EagerResult]
    args: Any
    kwargs: Any
    options: dict[str, Any]
    result: DeferredEagerResult


def hold_call(
    place: Place, run: Callable[..., EagerResult], task: Task, args: Any, kwargs: Any, options: dict[str, Any]
) -> DeferredEagerResult:
    """Run the task when the transaction has committed."""
    app = task.app
    # The same round trip as in a message, so that a test finds what a worker would refuse.
    serializer = options.get("serializer") or task.serializer or app.conf.task_serializer
    args, kwargs = freeze(task.name, (args or (), kwargs or {}), serializer)
    result = DeferredEagerResult(options["task_id"], None, states.PENDING, name=task.name)
    if app.conf.task_eager_propagates:
        place.calls.raise_errors_from_commit()
    result.call = place.hold(_run_each, EagerCall(run, args, kwargs, options, result))
    return result


def _run_each(calls: Sequence[EagerCall], release: Release) -> None:
    for call in calls:
        try:
            done = call.run(call.args, call.kwargs, **call.options)
        except Exception as error:  # with task_eager_propagates
            release.errors.append(error)
        else:
            vars(call.result).update(_result=done.result, _state=done.state, _traceback=done.traceback)
