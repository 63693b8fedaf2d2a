"""The two task classes: what a task is given when it runs. When a call of it leaves is said one floor below.

Neither differs from a Celery task in any other way: options, signatures, canvas, retries and signals are Celery's.
"""

from __future__ import annotations

import inspect
import logging
import random
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from celery import Celery, Task
from celery.utils.functional import head_from_fun
from pyramid.registry import Registry
from pyramid.request import Request
from transaction import manager as thread_manager
from transaction.interfaces import ITransaction

from .conflicts import is_conflict
from .current import is_request
from .deferral import open_transaction
from .deferred_task import DeferredTask
from .delivery import CLAIM_ATTEMPTS, Delivery, deliver, delivery_of
from .exceptions import ForeignTransaction, NotConfigured
from .request import open_request
from .work import Work

logger = logging.getLogger(__name__)


class RequestAwareTask(DeferredTask):
    """A task whose first argument is a request.

    The function takes ``request`` first, after ``self`` where it is bound; callers leave it out. ``request.tm`` is a
    transaction manager of the task's own in which nothing was begun: ``with request.tm:`` begins and commits, as often
    as the task likes. What it leaves open is aborted, with a warning.

    A call made while a transaction is open leaves when that transaction commits, and never otherwise. It runs **at
    least once**: with a ledger it is sent again until it has run to its end, without one it may be lost, too (a broker
    restarted empty, a worker killed). So it may begin more often than it ends, and what it does to the outside should
    bear that: hand its id (``self.request.id``, with ``bind=True``) on as the idempotency key, which is the same in
    each run and each retry.

    Websauna's class of this name; the request is a dummy, and ``request.route_url`` needs the setting ``site_url``.
    """

    abstract = True
    is_claimed = True

    @classmethod
    def on_bound(cls, app: Celery) -> None:
        """Check arguments as callers write them: without ``request``.

        Being a ``partial``, the header also tells Celery that an error callback of this class wants the id of the
        failed task, as a message of its own, and not ``(request, exc, traceback)`` in the failing one's process.
        """
        run = inspect.getattr_static(cls, "run")
        function, injected = (run.__func__, 1) if isinstance(run, staticmethod) else (run, 2)
        cls.__header__ = staticmethod(partial(head_from_fun(function), *[None] * injected))
        super().on_bound(app)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the task: for a worker, or inline.

        ``task(request, 1)`` runs inline in the transaction of that request, ``task(1)`` inline with a dummy request of
        its own.
        """
        if _is_executing(self):
            delivery = delivery_of(self)
            if delivery is None:
                return self._execute(self.run, args, kwargs)
            return deliver(delivery, partial(self._execute_delivered, delivery, args, kwargs))
        if args and is_request(args[0]):
            return super().__call__(*args, **kwargs)
        return self._execute(super().__call__, args, kwargs)

    def _execute_delivered(self, delivery: Delivery, args: Any, kwargs: Any) -> Any:
        delivery.start(delivery.ledger.policy.resend_after)
        with delivery.leased():
            result = self._execute(self.run, args, kwargs)
        if not delivery.runs_again:
            delivery.succeeded(result)
        return result

    def _execute(self, run: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        with open_request(_registry(self)) as request:
            foreign = open_transaction(thread_manager)
            try:
                return run(request, *args, **kwargs)
            finally:
                self._abort_leftover(request, foreign)

    def _abort_leftover(self, request: Request, foreign: ITransaction | None) -> None:
        leftover = open_transaction(request.tm)
        if leftover is not None:
            leftover.abort()
        if _abort_foreign(foreign) or leftover is not None:
            logger.warning("task %s left a transaction open; it was aborted", self.name)


class TransactionalTask(RequestAwareTask):
    """A task that runs in one transaction.

    ``request.tm`` has begun when the function is called and commits when it returns; an exception, ``Retry``,
    ``Ignore`` and ``Reject`` among them, aborts it. The task counts as successful only after the commit. A transaction
    that the function doomed is aborted and the task succeeds, as with pyramid_tm.

    A conflict (what the database calls a serialization failure or a deadlock, what pyramid_retry would retry) runs the
    function again, with a fresh request and session, up to ``tasks.attempts`` times in all (default 3); that is not a
    retry in Celery's count, and tasks called by the failed attempt are dropped with it.

    With a ledger its effect on the database happens **exactly once**, however often its message is delivered: the call
    is claimed in this very transaction, before the function is called. Therefore the function may not commit it.

    Websauna's class of this name.
    """

    abstract = True

    #: How often the function is run at most while it meets conflicts; ``None``: the setting ``tasks.attempts``.
    attempts: int | None = None

    def _execute_delivered(self, delivery: Delivery, args: Any, kwargs: Any) -> Any:
        delivery.start()
        return self._execute(self.run, args, kwargs, delivery)

    def _execute(self, run: Callable[..., Any], args: Any, kwargs: Any, delivery: Delivery | None = None) -> Any:
        registry = _registry(self)
        limits = {False: self.attempts or int((registry.settings or {}).get("tasks.attempts", 3)), True: CLAIM_ATTEMPTS}
        met = {False: 0, True: 0}
        while True:
            try:
                return self._attempt(registry, run, args, kwargs, delivery)
            except _Conflict as conflict:
                met[conflict.in_claim] += 1
                if met[conflict.in_claim] >= limits[conflict.in_claim]:
                    raise conflict.error from None
                logger.info("task %s met a conflict in attempt %d: %s", self.name, sum(met.values()), conflict.error)
            time.sleep(random.uniform(0, min(0.05 * 2 ** sum(met.values()), 1.0)))  # noqa: S311 - spreads load

    def _attempt(
        self, registry: Registry, run: Callable[..., Any], args: Any, kwargs: Any, delivery: Delivery | None
    ) -> Any:
        with open_request(registry) as request:
            work = None if delivery is None else Work(delivery, request)
            request.tm.begin()
            foreign = open_transaction(thread_manager)
            request.environ["tm.active"] = True  # as pyramid_tm marks a request whose transaction it manages
            try:
                if work is not None:
                    work.claim()
                result = run(request, *args, **kwargs)
                if _abort_foreign(foreign):
                    raise ForeignTransaction(
                        f"task {self.name} began a transaction of the thread's transaction.manager, which is not the"
                        " task's and was aborted: register the session with request.tm"
                    )
                if work is not None:
                    work.answer(result)
                _end(open_transaction(request.tm))
            except BaseException as error:
                transaction = open_transaction(request.tm)
                # Before the abort: afterwards nobody is left who knows the database's errors.
                conflict = is_conflict(transaction, error)
                if transaction is not None:
                    transaction.abort()
                _abort_foreign(foreign)
                if conflict:
                    raise _Conflict(error, in_claim=work is not None and not work.is_claimed) from error
                raise
        if work is not None and not work.is_saved:
            work.delivery.succeeded(result)
        return result


class _Conflict(Exception):
    """An attempt failed with ``error``, and another one may succeed."""

    def __init__(self, error: BaseException, *, in_claim: bool) -> None:
        super().__init__(error)
        self.error = error
        self.in_claim = in_claim


def _abort_foreign(before: ITransaction | None) -> bool:
    """Abort a transaction of the thread's manager that was not open before the task; whether there was one."""
    now = open_transaction(thread_manager)
    if now is None or now is before:
        return False
    now.abort()
    return True


def _end(transaction: ITransaction | None) -> None:
    if transaction is None:  # the function ended it by itself
        return
    if transaction.isDoomed():
        transaction.abort()
    else:
        transaction.commit()


def _is_executing(task: Task) -> bool:
    """Whether a worker (or ``apply``) is making this very call; a second call under the same context is a direct one.

    Celery's own ``Task.__call__`` pushes a context of its own, in which the task could not be retried.
    """
    context = task.request
    if context.called_directly or vars(context).get("_pyramid_celery_tm"):
        return False
    context._pyramid_celery_tm = True  # noqa: SLF001 - ours
    return True


def _registry(task: Task) -> Registry:
    registry = task.app.conf.get("PYRAMID_REGISTRY")
    if registry is None:
        raise NotConfigured(
            f"task {task.name} has no Pyramid application: call config.configure_celery(ini) in the application's main,"
            " or start the worker with ws-celery and --ini"
        )
    return registry
