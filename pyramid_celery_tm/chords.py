"""Result backends whose chords wait for the commit.

A chord is counted in the result backend, and Celery writes its size there while the chord is called. In a transaction
that is too early: an aborted request would leave the key behind for a day, and a backend that is down would hold up the
view. So what a chord writes goes out with its tasks. Celery's loader picks these classes by name (see
:class:`pyramid_celery_tm.app.Loader`); outside of a transaction they are Celery's own.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from functools import partial
from threading import Thread
from typing import Any

from celery import Signature, states
from celery.backends import base, cache, database, redis, rpc
from celery.result import ResultSet
from celery.utils.functional import _regen

from . import aftermath, chord_parts, record
from .current import before_next, find_place
from .deferral import Release
from .publish import SECONDS_PER_OPERATION
from .results import DeferredResult, members
from .signatures import by_reference, take_origin
from .task import RequestAwareTask

logger = logging.getLogger(__name__)

_RESULTS = "result backend"

#: The ids of the headers whose chords are being called inside a transaction; one may stand in the header of another.
_being_called: ContextVar[frozenset[str]] = ContextVar("pyramid_celery_tm_chords", default=frozenset())

#: The same for those that the ledger knows.
_in_ledger: ContextVar[frozenset[str]] = ContextVar("pyramid_celery_tm_chords_in_ledger", default=frozenset())


class DeferredChords:
    """Mixed into a result backend."""

    def apply_chord(self, header_result_args: Any, body: Signature, **options: Any) -> None:
        """Prepare a chord before its header is sent: with the commit, if its body or header waits for one."""
        set_up = partial(super().apply_chord, header_result_args, body, **options)  # type: ignore[misc]
        # Celery has put the options of the call into those of the body, and is about to copy them deeply.
        body["options"] = by_reference(body.options)
        origin, _, _ = take_origin((), {}, dict(body.options))
        place = find_place(origin.request, origin.tm)
        ledger = record.ledger_of(self.app)  # type: ignore[attr-defined]
        if (
            ledger is not None
            and _is_known(header_result_args[1])
            and (_is_ours(body) or _has_ours(header_result_args[1]))
        ):
            chord_parts.enter(ledger, place, *header_result_args)
            _in_ledger.set(_in_ledger.get() | {header_result_args[0]})
            return
        if place is not None:
            _being_called.set(_being_called.get() | {header_result_args[0]})
        if place is not None and (_is_ours(body) or _has_ours(header_result_args[1])):
            place.hold(_set_up_each, set_up)
        else:
            set_up()

    def set_chord_size(self, group_id: str, chord_size: int) -> None:
        """Write down how many results the body waits for.

        Celery does it before it calls the last task of the header. If that one waits for the commit, so does this; if
        it is a plain Celery task and leaves at once, :meth:`on_task_call` does it just before.
        """
        if group_id in _in_ledger.get():
            _in_ledger.set(_in_ledger.get() - {group_id})
            return
        set_up = partial(super().set_chord_size, group_id, chord_size)  # type: ignore[misc]
        if group_id in _being_called.get():
            _being_called.set(_being_called.get() - {group_id})
            before_next.set((_set_up_each, set_up))
        else:
            set_up()

    def on_chord_part_return(self, request: Any, state: str, result: Any, **options: Any) -> None:
        """Called when a task of a header has ended."""
        ledger = record.ledger_of(self.app)  # type: ignore[attr-defined]
        if ledger is not None and request.group and request.id:
            error = result if state in states.PROPAGATE_STATES else None
            if chord_parts.return_part(self, ledger, request, error, result):
                return
        super().on_chord_part_return(request, state, result, **options)  # type: ignore[misc]

    def mark_as_failure(self, task_id: str, exc: BaseException, *args: Any, **options: Any) -> None:
        """Called for a task that failed; by the worker's main process if its child cannot say so."""
        ledger = record.ledger_of(self.app)  # type: ignore[attr-defined]
        if ledger is None or not aftermath.is_left_to_relay(ledger, self, task_id, exc, options.get("request")):
            super().mark_as_failure(task_id, exc, *args, **options)  # type: ignore[misc]

    def on_task_call(self, producer: Any, task_id: str) -> None:
        """Called for a task that is being sent now."""
        first = before_next.get()
        if first is not None:
            before_next.set(None)
            first[1]()
        super().on_task_call(producer, task_id)  # type: ignore[misc]

    def iter_native(self, result: ResultSet, **options: Any) -> Any:
        """Wait for the results of a group."""
        for member in members(result):
            if isinstance(member, DeferredResult):
                member.check_sent()
            self.add_pending_result(member)  # type: ignore[attr-defined]
        return super().iter_native(result, **options)  # type: ignore[misc]


class DisabledBackend(DeferredChords, base.DisabledBackend):
    """No results. Chords need none where there is a ledger."""

    def ensure_chords_allowed(self) -> None:
        """As Celery's, which allows none."""
        if record.ledger_of(self.app) is None:
            super().ensure_chords_allowed()


class RedisBackend(DeferredChords, redis.RedisBackend):
    """Redis and Valkey."""


class SentinelBackend(DeferredChords, redis.SentinelBackend):
    """Redis behind Sentinel."""


class DatabaseBackend(DeferredChords, database.DatabaseBackend):
    """SQLAlchemy."""


class RPCBackend(DeferredChords, rpc.RPCBackend):
    """Replies in a queue of the caller's own."""


class CacheBackend(DeferredChords, cache.CacheBackend):
    """Memcached."""


#: What Celery's loader puts in place of its own classes.
BACKENDS = {
    "disabled": f"{__name__}:DisabledBackend",
    "redis": f"{__name__}:RedisBackend",
    "rediss": f"{__name__}:RedisBackend",
    "sentinel": f"{__name__}:SentinelBackend",
    "db": f"{__name__}:DatabaseBackend",
    "database": f"{__name__}:DatabaseBackend",
    "cache": f"{__name__}:CacheBackend",
    "rpc": f"{__name__}:RPCBackend",
}


def _is_ours(body: Signature) -> bool:
    return isinstance(body.type, RequestAwareTask)


def _has_ours(results: Any) -> bool:
    # Not of a generator, which would be exhausted; its results are plain ones to Redis, too, and nothing is written.
    return isinstance(results, list) and any(isinstance(result, DeferredResult) for result in results)


def _is_known(results: Any) -> bool:
    # A lazy header keeps what it has given.
    return isinstance(results, list | tuple | _regen)


def _set_up_each(set_ups: Sequence[Callable[[], object]], release: Release) -> None:
    for set_up in set_ups:
        # In a thread, for a result backend that is down is tried for 20 seconds, and no setting bounds a single call.
        # The thread goes on trying; the commit waits for one of them and leaves the rest of its time to the messages.
        thread = Thread(target=_set_up, args=(set_up,), daemon=True)
        thread.start()
        thread.join(0 if _RESULTS in release.silent else SECONDS_PER_OPERATION)
        if thread.is_alive():
            release.silent.add(_RESULTS)
            logger.error("the result backend does not answer: a chord that was called may not complete")


def _set_up(set_up: Callable[[], object]) -> None:
    try:
        set_up()
    except Exception:
        logger.exception("the result backend failed: a chord that was called may not complete")
