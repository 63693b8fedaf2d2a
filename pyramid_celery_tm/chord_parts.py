"""Chords that are counted in the ledger, and not in the result backend.

A broker that is restarted empty is, as a rule, the result backend, too: the counters of all open chords go with it. The
ledger keeps them. The body is called in the transaction that closes the chord: once, whoever comes last.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from celery import Celery
from celery.canvas import maybe_signature
from celery.exceptions import ChordError
from celery.result import ResultSet
from transaction import TransactionManager

from . import packing, record, sessions
from .current import Place, within
from .ledger import Ledger, chords

logger = logging.getLogger(__name__)


def enter(ledger: Ledger, place: Place | None, chord_id: str, results: Any) -> None:
    """Write a chord into the ledger.

    :param place: where its tasks wait; ``None`` where they leave at once.
    :param results: the results of the tasks of its header.
    """
    entry = record.Entry(ledger, row=chords.row(chord_id, _ids(results)))
    if place is None:
        record.send_now(entry)
    else:
        record.hold(place, entry)


def return_part(backend: Any, ledger: Ledger, request: Any, error: BaseException | None, result: Any) -> bool:
    """Note that a task has returned to its chord, and call the body if it was the last one.

    :param backend: the result backend; it is told if the chord fails.
    :param request: the context of the task.
    :param error: what the task raised.
    :param result: what the task returned.
    :returns: whether the chord is in the ledger.
    :raises sqlalchemy.exc.SQLAlchemyError: nothing was noted.
    """
    manager = TransactionManager(explicit=True)
    with manager:
        connection = sessions.connection(ledger, sessions.join(ledger, manager, None))
        if not chords.exists(ledger, connection, request.group):
            return False
        part = chords.Part(request.id, *_outcome(backend, error, result))
        chords.note_part(ledger, connection, request.group, part, request.get("task") or "")
        complete = chords.complete(ledger, connection, request.group)
        if complete is not None:
            with within(manager):
                _call_body(backend, request.chord, *complete)
            chords.close(ledger, connection, request.group)
    return True


def _call_body(backend: Any, chord: Any, header: chords.Header, parts: Mapping[str, chords.Part]) -> None:
    app: Celery = backend.app
    body = maybe_signature(chord, app=app)
    failed = next((parts[task_id] for task_id in chords.members(header) if parts[task_id].error is not None), None)
    if failed is None:
        body.apply_async(([_value(parts, item) for item in header],))
        return
    cause = backend.exception_to_python(packing.loads(failed.result))
    error = ChordError(f"Dependency {failed.task_id} raised {cause!r}")
    error.__cause__ = cause
    backend.chord_error_from_stack(callback=body, exc=error)


def _outcome(backend: Any, error: BaseException | None, result: Any) -> tuple[str | None, str | None]:
    if error is None:
        return (None if result is None else packing.dumps(result)), None
    return packing.dumps(backend.prepare_exception(error, serializer="json")), f"{type(error).__name__}: {error}"


def _value(parts: Mapping[str, chords.Part], item: Any) -> Any:
    if isinstance(item, list):
        return [_value(parts, member) for member in item]
    return packing.loads(parts[item].result)


def _ids(results: Any) -> chords.Header:
    return [_ids(result.results) if isinstance(result, ResultSet) else result.id for result in results]
