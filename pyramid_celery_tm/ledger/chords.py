"""Chords: tasks of a header that run side by side, and a body that runs once when all of them have.

A chord has a row, with the ids of its header's tasks; each of those notes in its own row that it has returned to the
chord. Nothing is counted: who returns looks whether all the others have. So it may return as often as it likes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, case, select, update

from . import Ledger, outbox
from .model import State, utcnow

#: The name of a chord's row.
NAME = "celery.chord"

#: The ids of a header's tasks; a group in it is a list of its own.
Header = list[Any]

#: The states in which a row says itself what came of its call.
_ANSWERED = (State.ANSWERED, State.DONE, State.FAILED)


@dataclass(frozen=True)
class Part:
    """A task of the header that has returned.

    :ivar task_id: its id.
    :ivar result: what it returned or raised, as JSON.
    :ivar error: why it failed; ``None`` if it did not.
    """

    task_id: str
    result: str | None
    error: str | None


def row(chord_id: str, header: Header) -> dict[str, Any]:
    """The row of a chord that waits for its header."""
    return {"id": chord_id, "name": NAME, "state": State.CHORD, "message": json.dumps(header)}


def exists(ledger: Ledger, connection: Connection, chord_id: str) -> bool:
    """Whether a chord is in the ledger."""
    c = ledger.table.c
    return connection.execute(select(c.id).where(c.id == chord_id, c.name == NAME)).scalar() is not None


def note_part(ledger: Ledger, connection: Connection, chord_id: str, part: Part, name: str) -> None:
    """Note that a task has returned to its chord.

    One of the library's has said in its row what came of it; for any other, a row is made that says so.

    :param name: the name of the task.
    """
    state = State.DONE if part.error is None else State.FAILED
    said = {"state": state, "result": part.result, "error": part.error, "due_at": None}
    row = {"id": part.task_id, "name": name, "chord_id": chord_id, "finished_at": utcnow(), **said}
    if not outbox.add(ledger, connection, [row]):
        c = ledger.table.c
        # One that has not run, and never will, says nothing itself: it stands behind one that failed in its chain.
        changes = {field: case((c.state.in_(_ANSWERED), c[field]), else_=value) for field, value in said.items()}
        statement = update(ledger.table).where(c.id == part.task_id)
        connection.execute(statement.values({**changes, "chord_id": chord_id}))


def complete(ledger: Ledger, connection: Connection, chord_id: str) -> tuple[Header, dict[str, Part]] | None:
    """The header of a chord and what all of its tasks returned, if all have, and nobody was told so before.

    Until the transaction ends nobody else is told.
    """
    c = ledger.table.c
    waiting = select(c.message).where(c.id == chord_id, c.state == State.CHORD).with_for_update()
    text = connection.execute(waiting).scalar()
    if text is None:
        return None
    header: Header = json.loads(text)
    parts = select(c.id, c.result, c.error).where(c.chord_id == chord_id)
    found = {row.id: Part(*row) for row in connection.execute(parts)}
    return (header, found) if all(task_id in found for task_id in members(header)) else None


def close(ledger: Ledger, connection: Connection, chord_id: str) -> None:
    """Note that the body of a chord is on its way."""
    c = ledger.table.c
    values = {"state": State.DONE, "finished_at": utcnow()}
    connection.execute(update(ledger.table).where(c.id == chord_id).values(values))


def members(header: Header) -> Iterator[str]:
    """The ids of all tasks of a header."""
    for item in header:
        if isinstance(item, list):
            yield from members(item)
        else:
            yield item
