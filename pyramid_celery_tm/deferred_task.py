"""When a call leaves: the half of a task that the caller meets.

Every way to call a task comes down to ``apply_async``: ``delay``, signatures, the members of a group, the head of a
chain, the header of a chord. Here it holds the call until the transaction commits, if one is open.
"""

from __future__ import annotations

from typing import Any

from celery import Task
from celery.utils import uuid

from . import eager, publish, record
from .current import Place, at_once, before_next, comes_after_response, find_place
from .deferral import Release
from .ledger import Ledger
from .results import DeferredResult
from .signatures import DeferredSignature, take_origin


class DeferredTask(Task):
    """A Celery task whose calls obey the open transaction; it runs as any other.

    Not for direct use: :class:`pyramid_celery_tm.TransactionalTask` and
    :class:`pyramid_celery_tm.RequestAwareTask` add the request.
    """

    abstract = True

    #: Whether a worker that runs a call of it tells the ledger.
    is_claimed = False

    def apply_async(
        self,
        args: Any = None,
        kwargs: Any = None,
        task_id: str | None = None,
        producer: Any = None,
        link: Any = None,
        link_error: Any = None,
        shadow: str | None = None,
        **options: Any,
    ) -> Any:
        """Call the task: at the commit of the open transaction, or at once where none is open.

        The transaction is that of a request given as the first argument or as ``request=``, of the transaction manager
        given as ``tm=``, else of the current request. Arguments are checked and copied now. ``countdown`` and
        ``expires`` in seconds count from the commit.

        :returns: a result with the final id.
        :raises TypeError: the arguments do not fit the task.
        :raises pyramid_celery_tm.exceptions.NotSerializable: an argument cannot travel in a message.
        """
        origin, args, kwargs = take_origin(args, kwargs, options)
        defers = self._defers(args, kwargs)
        place = find_place(origin.request, origin.tm) if defers else None
        ledger = record.ledger_of(self.app) if defers else None
        options.update(link=link, link_error=link_error, shadow=shadow, task_id=task_id)
        if ledger is not None:
            return self._enter(ledger, place, args, kwargs, _without_live(options))
        publish.warn_of_redelivery(self.app, self.name, options.get("countdown"), options.get("eta"))
        if place is None:
            given = producer or "connection" in options or self.app.conf.task_always_eager
            if not given and self._defers(args, kwargs) and comes_after_response(origin.request):
                # The work is saved and the browser waits: as at the commit, what fails now is logged.
                message = self._message(args, kwargs, options)
                publish.send([message], Release())
                return message.result
            return super().apply_async(args, kwargs, producer=producer, **options)
        return self._hold(place, args, kwargs, _without_live(options))

    def _defers(self, args: Any, kwargs: Any) -> bool:
        return True

    def _hold(self, place: Place, args: Any, kwargs: Any, options: dict[str, Any]) -> Any:
        if self.app.conf.task_always_eager:
            self._check_arguments(args, kwargs)
            options["task_id"] = options.get("task_id") or uuid()
            return eager.hold_call(place, super().apply_async, self, args, kwargs, options)
        message = self._message(args, kwargs, options)
        first = before_next.get()
        if first is not None:
            before_next.set(None)
            place.hold(*first)
        message.result.call = place.hold(publish.send, message)
        return message.result

    def _enter(self, ledger: Ledger, place: Place | None, args: Any, kwargs: Any, options: dict[str, Any]) -> Any:
        """Hold a call that has a row in the ledger, or send it now."""
        message = self._message(args, kwargs, options, identify=True, hold_longer_than=ledger.policy.eta_threshold)
        entry = record.Entry(ledger, message=message, claimed=self.is_claimed)
        if place is None:
            record.send_now(entry)
        else:
            message.result.call = record.hold(place, entry)
        return message.result

    def _message(self, args: Any, kwargs: Any, options: dict[str, Any], **further: Any) -> publish.Message:
        self._check_arguments(args, kwargs)
        options["shadow"] = options["shadow"] or self.shadow_name(args, kwargs, options)
        options = {"ignore_result": self.ignore_result, **self._get_exec_options(), **options, **further}
        return publish.build(self.app, self.name, args, kwargs, task_type=self, **options)

    def _check_arguments(self, args: Any, kwargs: Any) -> None:
        if self.soft_time_limit and self.time_limit and self.soft_time_limit > self.time_limit:
            raise ValueError("soft_time_limit must be less than or equal to time_limit")  # Celery's own words
        if self.typing:
            self.__header__(*(args or ()), **(kwargs or {}))

    def apply(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        """Run the task here and now, as Celery does; a request among the arguments is left out.

        Called by an eager canvas that was itself called by ``apply_async`` it waits for the commit.
        """
        origin, args, kwargs = take_origin(args, kwargs, options)
        if self.app.conf.task_always_eager and eager.called_by_canvas():
            place = find_place(origin.request, origin.tm)
            if place is not None:
                return self._hold(place, args, kwargs, options)
        return super().apply(args, kwargs, **options)

    def signature(self, args: Any = None, kwargs: Any = None, options: Any = None, **extra: Any) -> Any:
        """A signature, as Celery's; a request as first argument says which transaction its calls belong to."""
        options = dict(options or {})
        origin, args, kwargs = take_origin(args, kwargs, options)
        if origin:
            options["request"] = origin
        return DeferredSignature(self, args, kwargs, options, **{"app": self.app, **extra})

    def AsyncResult(self, task_id: str, **options: Any) -> DeferredResult:  # noqa: N802 - Celery's name
        """The result of a call of this task."""
        return DeferredResult(task_id, app=self.app, backend=self.backend, task_name=self.name, **options)

    def retry(self, *args: Any, **options: Any) -> Any:
        """As :meth:`celery.Task.retry`; sent at once, for the transaction of this attempt is about to be aborted."""
        with at_once():
            return super().retry(*args, **options)

    def on_replace(self, sig: Any) -> Any:
        """As :meth:`celery.Task.on_replace`; sent at once, for the ``Ignore`` it ends in aborts the transaction."""
        if self.request.is_eager:  # it runs here and now, and obeys transactions of its own
            return super().on_replace(sig)
        with at_once():
            return super().on_replace(sig)


def _without_live(options: dict[str, Any]) -> dict[str, Any]:
    # A producer or connection of now is somebody else's by the time of the commit: group() passes one to each member
    # and gives it back to its pool when the last one has been called.
    return {name: value for name, value in options.items() if name not in ("connection", "publisher")}
