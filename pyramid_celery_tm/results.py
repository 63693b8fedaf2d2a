"""What a caller is given for a call that waits for its commit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from celery.result import AsyncResult, ResultSet
from vine import barrier

from .current import find_place
from .deferral import Call, Held
from .exceptions import ResultNotAvailable


class DeferredResult(AsyncResult):
    """The result of a call that waits for its commit; the id is final.

    Waiting for it inside the transaction would wait for ever, so :meth:`get` raises
    :class:`~pyramid_celery_tm.exceptions.ResultNotAvailable` until the call has been sent.
    """

    call: Call | None = None

    def get(self, *args: Any, **kwargs: Any) -> Any:
        """As :meth:`celery.result.AsyncResult.get`, once the transaction has committed."""
        self.check_sent()
        return super().get(*args, **kwargs)

    wait = get

    def check_sent(self) -> None:
        """Make sure that there is something to wait for.

        :raises pyramid_celery_tm.exceptions.ResultNotAvailable: the call, or that of a task before it in its chain or
            in the header of its chord, has not been sent.
        """
        for result in members(self, *self._parents()):
            call = getattr(result, "call", None) or _waiting_call(result.id)
            if call is not None and call.state is not Held.RELEASED:
                raise ResultNotAvailable(
                    f"task {result.id} was not sent: its transaction "
                    + ("is still open" if call.state is Held.WAITING else "did not commit")
                )

    def then(self, callback: Any, on_error: Any = None, weak: bool = False) -> Any:  # noqa: FBT001, FBT002 - Celery's
        """As :meth:`celery.result.AsyncResult.then`.

        But a group that is being called does not subscribe to the results of its members: nobody waits for them yet,
        and a result backend that is down would hold up the view. Whoever waits for the group subscribes then.
        """
        if isinstance(callback, barrier):
            return self.on_ready.then(callback, on_error)
        return super().then(callback, on_error, weak)


def members(*results: AsyncResult | ResultSet) -> Iterator[AsyncResult]:
    """The results of single tasks in results of whatever kind."""
    for result in results:
        if isinstance(result, ResultSet):
            yield from members(*result.results)
        else:
            yield result


def _waiting_call(task_id: str) -> Call | None:
    """The call of a member of a canvas, whose result knows nothing of it, in the open transaction."""
    place = find_place()
    for call in place.calls.waiting() if place else ():
        result = getattr(call.item, "result", None)
        if result is not None and result.id == task_id:
            return call
    return None
