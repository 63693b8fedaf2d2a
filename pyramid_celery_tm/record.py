"""Writes calls into the ledger before the transaction commits, and sends them when it has.

Where :mod:`pyramid_celery_tm.publish` sends messages, and loses what it cannot send, this module first makes sure that
somebody else can: the row of a call has its finished message.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from celery import Celery
from celery.utils.time import maybe_make_aware
from sqlalchemy import Connection, event
from sqlalchemy.exc import SQLAlchemyError

from . import ledger as ledgers
from . import publish, sessions
from .current import Place, is_at_once
from .deferral import Call, Held, Release
from .ledger import Ledger, State, outbox, utcnow
from .packing import pack, portable

logger = logging.getLogger(__name__)

#: The header of a message that has a row: how often it has been sent, with this time.
HEADER = "ledger"


def ledger_of(app: Celery) -> Ledger | None:
    """The ledger that calls of an app's tasks are written into.

    :returns: ``None`` where the application has none, and for eager tasks, which no message stands for.
    """
    registry = app.conf.get("PYRAMID_REGISTRY")
    ledger: Ledger | None = None if registry is None else registry.get(ledgers.KEY)
    return None if ledger is None or app.conf.task_always_eager else ledger


@dataclass(eq=False)
class Entry:
    """A row that is to be written, and the message that goes out once it is.

    :ivar row: what is not known from the message.
    :ivar message: ``None`` for a row that stands for no message.
    :ivar claimed: whether a worker will claim it; what nobody claims is done when it has been sent.
    :ivar is_written: whether its transaction has the row.
    :ivar is_twin: whether the ledger had a row of this id before.
    """

    ledger: Ledger
    row: dict[str, Any] = field(default_factory=dict)
    message: publish.Message | None = None
    claimed: bool = True
    is_written: bool = False
    is_twin: bool = False

    @property
    def id(self) -> str:
        """The id of the row."""
        return str(self.row["id"] if self.message is None else self.message.content.headers["id"])

    @property
    def result(self) -> Any:
        """What the caller was given."""
        return None if self.message is None else self.message.result

    def values(self) -> dict[str, Any]:
        """The row. Countdowns begin now."""
        if self.message is not None:
            self.message.start_clocks()
            self.row = _row(self.ledger, self.message, claimed=self.claimed)
        return self.row

    def is_near(self) -> bool:
        """Whether its message should be with the broker now."""
        return not self.is_twin and self.message is not None and not _is_far(self.ledger, self.row["eta"])


def hold(place: Place, entry: Entry) -> Call:
    """Write an entry when the transaction of a place commits, and send it afterwards."""
    call = place.hold(send, entry)
    writer = _Writer(place, entry.ledger)
    place.calls.write_with(writer.join, writer.write)
    if place.calls.is_written:
        writer.write_late()
    return call


def send(entries: Sequence[Entry], release: Release) -> None:
    """Send what has been committed; what has not been written yet is written first, in a transaction of its own.

    :param release: not used.
    :raises sqlalchemy.exc.SQLAlchemyError: the ledger could not be written to, and nothing was sent.
    """
    ledger = entries[0].ledger
    fresh = [entry for entry in entries if not entry.is_written]
    if fresh:
        with ledger.begin() as connection:
            _write(ledger, connection, fresh)
    _send_written(ledger, entries)


def send_in_place_of(ledger: Ledger, task_id: str, entries: Sequence[Entry], *, replaced: bool) -> None:
    """Send what a task has asked for instead of an outcome of its own: its retry, or what replaces it.

    :param task_id: the task that asks.
    :param replaced: whether others take its place; one of them may have its id.
    """
    with ledger.begin() as connection:
        again = [entry for entry in entries if entry.id == task_id]
        for entry in again:
            entry.is_written = True
            entry.is_twin = not outbox.put_back(ledger, connection, entry.values())
        if replaced and not again:
            outbox.drop(ledger, connection, task_id)
        _write(ledger, connection, [entry for entry in entries if not entry.is_written])
    _send_written(ledger, entries)


_afterwards: ContextVar[list[Entry] | None] = ContextVar("pyramid_celery_tm_afterwards", default=None)


@contextmanager
def afterwards() -> Iterator[list[Entry]]:
    """Gathers what a task asks for beside its transaction: retries and replacements.

    They change the row that the task has claimed, and so they wait until it is free.
    """
    entries: list[Entry] = []
    token = _afterwards.set(entries)
    try:
        yield entries
    finally:
        _afterwards.reset(token)


def send_now(entry: Entry) -> None:
    """Write and send a call that waits for no commit; at the end of the task where a task asks for its retry."""
    gathered = _afterwards.get()
    if gathered is not None and is_at_once():
        gathered.append(entry)
    else:
        send([entry], Release())


class _Writer:
    """Writes the entries of one transaction, all in one statement."""

    def __init__(self, place: Place, ledger: Ledger) -> None:
        self.place = place
        self.ledger = ledger

    def join(self) -> None:
        """When the commit begins: make sure that there is a session to write with."""
        if self._entries():
            sessions.join(self.ledger, self.place.calls.manager, self.place.request)

    def write(self) -> None:
        """When the sessions have flushed, and before they commit."""
        entries = self._entries()
        if entries:
            session = sessions.joined(self.ledger, self.place.calls.transaction)
            if session is not None:  # else they are written when they are sent
                _write(self.ledger, sessions.connection(self.ledger, session), entries)

    def write_late(self) -> None:
        """For a call that is made while the session flushes for the last time, or later."""
        session = sessions.joined(self.ledger, self.place.calls.transaction)
        if session is not None:
            event.listen(session, "before_commit", self._before_commit, once=True)

    def _before_commit(self, session: Any) -> None:
        self.write()

    def _entries(self) -> list[Entry]:
        items = [call.item for call in self.place.calls.calls if call.state is Held.WAITING]
        return [item for item in items if isinstance(item, Entry) and not item.is_written]


def _write(ledger: Ledger, connection: Connection, entries: Sequence[Entry]) -> None:
    if not entries:
        return
    # The first of those that were given the same id by their callers.
    rows = {entry.id: entry.values() for entry in reversed(entries)}
    written = outbox.add(ledger, connection, list(rows.values()))
    for entry in entries:
        entry.is_written = True
        entry.is_twin = entry.id not in written
        written.discard(entry.id)
        if entry.is_twin and entry.message is not None:
            logger.info("task %s is in the ledger already: it is not sent again", entry.message.describe())


def _send_written(ledger: Ledger, entries: Iterable[Entry]) -> None:
    near = {id(entry.message): entry for entry in entries if entry.is_near()}
    messages = [entry.message for entry in near.values() if entry.message is not None]
    problems: list[tuple[publish.Message, Exception]] = []
    for message in messages:
        message.content.headers[HEADER] = 1
    sent = [near[id(message)] for message in publish.send_each(messages, lambda *problem: problems.append(problem))]
    if problems:
        logger.warning(
            "%d calls could not be sent after the commit: %s; they are in the ledger, and a relay sends them: %s",
            len(problems),
            _reason(problems[0][1]),
            ", ".join(message.describe() for message, _ in problems[:20]) + (", ..." if len(problems) > 20 else ""),
        )
    if sent:
        try:
            outbox.mark_sent(ledger, [e.id for e in sent], [e.id for e in sent if not e.claimed])
        except SQLAlchemyError as error:
            # Sent once more, then: the second copy finds its work done.
            logger.warning("%d calls were sent, and could not be marked as sent: %s", len(sent), _reason(error))


def _reason(error: BaseException) -> str:
    lines = str(error).splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}"


def _is_far(ledger: Ledger, eta: datetime | None) -> bool:
    return eta is not None and eta - utcnow() > timedelta(seconds=ledger.policy.eta_threshold)


def _row(ledger: Ledger, message: publish.Message, *, claimed: bool) -> dict[str, Any]:
    headers, now = message.content.headers, utcnow()
    eta, expires = _time(headers.get("eta")), _time(headers.get("expires"))
    due = now + timedelta(seconds=ledger.policy.unsent_after)
    if eta is not None and _is_far(ledger, eta):
        due = eta - timedelta(seconds=ledger.policy.eta_threshold)
    return {
        "id": headers["id"],
        "name": message.name,
        "queue": portable(message.options).get("queue"),
        "state": State.PENDING,
        "message": pack(message, claimed=claimed),
        "retries": headers.get("retries") or 0,
        "due_at": due,
        "eta": eta,
        "expires_at": expires,
    }


def _time(text: str | None) -> datetime | None:
    return maybe_make_aware(datetime.fromisoformat(text)) if text else None
