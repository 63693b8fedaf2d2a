"""Which transaction a call belongs to.

In this order: the one named by hand (``tm=``, or a request among the arguments), else the one of the request that is
current in this thread. A call that belongs to none, or to one that is over, leaves at once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from pyramid.interfaces import IRequest
from pyramid.threadlocal import get_current_request

from . import savepoints
from .deferral import Call, Calls, Release, Send, calls_of
from .request import is_answered, sessions_of

logger = logging.getLogger(__name__)

#: What has to be held before the next task that is held, and the one that sends it: a chord's preparations.
before_next: ContextVar[tuple[Send, Any] | None] = ContextVar("pyramid_celery_tm_before_next", default=None)

_at_once: ContextVar[bool] = ContextVar("pyramid_celery_tm_at_once", default=False)
_within: ContextVar[Any] = ContextVar("pyramid_celery_tm_within", default=None)


def is_request(value: object) -> bool:
    """Whether a value is a Pyramid request (a ``pyramid.testing.DummyRequest`` is one, too)."""
    return bool(IRequest.providedBy(value))


@dataclass
class Place:
    """Where a call waits: with the other calls of its transaction."""

    calls: Calls
    request: Any = None

    def hold(self, send: Send, item: Any) -> Call:
        """Hold a call until the transaction commits, or one of the savepoints it was made in is rolled back."""
        call = self.calls.add(send, item)
        savepoints.follow(self.calls.transaction, call, () if self.request is None else sessions_of(self.request))
        return call


def find_place(request: Any = None, tm: Any = None) -> Place | None:
    """Where a call made here and now has to wait.

    :param request: a request given by hand, or ``None``.
    :param tm: a transaction manager given by hand, or ``None``.
    :returns: ``None`` where the call has to leave at once.
    """
    if _at_once.get():
        return None
    if request is None and tm is None:
        tm = _within.get()
    if request is None:
        request = get_current_request()
    own = getattr(request, "tm", None)
    calls = calls_of(own if tm is None else tm)
    if calls is None:
        return None
    return Place(calls, request if tm in (None, own) else None)


def comes_after_response(request: Any = None) -> bool:
    """Whether a call is made in a response callback, a finished callback, or a subscriber to ``NewResponse``.

    :param request: a request given by hand, or ``None``.
    """
    return is_answered(request if request is not None else get_current_request()) and not _at_once.get()


@contextmanager
def at_once() -> Iterator[None]:
    """Within this block tasks are sent when they are called.

    For what must outlive the transaction it is asked for in: a retry belongs to the attempt that is being aborted.
    """
    token = _at_once.set(True)
    try:
        yield
    finally:
        _at_once.reset(token)


def is_at_once() -> bool:
    """Whether this is such a block."""
    return _at_once.get()


@contextmanager
def within(tm: Any) -> Iterator[None]:
    """Within this block calls belong to the transaction of this manager, unless another one is given by hand."""
    token = _within.set(tm)
    try:
        yield
    finally:
        _within.reset(token)


def on_commit(callback: Callable[[], object], request: Any = None, tm: Any = None) -> None:
    """Call a function once the transaction has committed, and never if it does not.

    Works wherever a request is current: in views, event subscribers, SQLAlchemy's event listeners, other tasks. The
    functions and the tasks of one transaction go out together, in the order in which they were given. An exception in
    one is logged and does not stop the others, for the data is saved already. A savepoint that is rolled back takes
    along what was given since. (Django's ``transaction.on_commit``, which NodeConductor's documents ask for.)

    :param callback: called without arguments; called at once where no transaction is open.
    :param request: the request whose transaction is meant, if it is not the current one.
    :param tm: the transaction manager that is meant, for scripts without a request.
    """
    place = find_place(request, tm)
    if place is None:
        callback()
    else:
        place.hold(_call_each, callback)


def _call_each(callbacks: Sequence[Callable[[], object]], release: Release) -> None:
    for callback in callbacks:
        try:
            callback()
        except Exception:
            logger.exception("the function %r given to on_commit failed; the commit stands", callback)
