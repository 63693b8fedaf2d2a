"""The entries of beat's schedule: a row each, whose ``eta`` is the next tick.

Any number of beats share the rows. One takes a tick by moving the row on to the next, in the transaction that calls the
task; the others find it gone. A row's ``message`` says of which timetable its tick is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid5

from sqlalchemy import Connection, bindparam, or_, select, update

from . import Ledger, outbox
from .model import State, aware

#: What the ids of ticks are made in.
NAMESPACE = UUID("5e0f3c0b-2b0e-4f5c-9a43-6d2f7f1c8b1e")
_LONGEST_ID = 255


@dataclass(frozen=True)
class Line:
    """An entry, and its next tick.

    :ivar name: the name of the entry.
    :ivar task: the name of its task.
    :ivar timetable: a text that changes with the timetable.
    :ivar tick: the next tick.
    """

    name: str
    task: str
    timetable: str
    tick: datetime


def row_id(name: str) -> str:
    """The id of the row of an entry."""
    # Entries of add_periodic_task are named after their calls, of any length.
    plain = f"beat:{name}"
    return plain if len(plain) <= _LONGEST_ID else f"beat:{uuid5(NAMESPACE, name)}"


def tick_id(name: str, due: datetime) -> str:
    """The id of the task that a tick calls.

    :param due: the time of the tick, in UTC.
    """
    return str(uuid5(NAMESPACE, f"{name}@{due.isoformat()}"))


def enter(ledger: Ledger, connection: Connection, lines: Iterable[Line]) -> None:
    """Write entries; one that is there goes on as it is, unless its timetable is another one now."""
    c = ledger.table.c
    # In the same order in every beat: two that start together must not wait for each other.
    rows = sorted((_row(line) for line in lines), key=lambda row: str(row["id"]))
    written = outbox.add(ledger, connection, rows)
    for row in rows:
        if row["id"] not in written:
            mine = update(ledger.table).where(c.id == row["id"])
            changed = mine.where(or_(c.message.is_(None), c.message != row["message"]))
            connection.execute(changed.values(message=row["message"], eta=row["eta"]))
            connection.execute(mine.where(c.name != row["name"]).values(name=row["name"]))


def read(ledger: Ledger, connection: Connection, names: Sequence[str]) -> dict[str, Line]:
    """The entries of these names that are there, by name."""
    c = ledger.table.c
    ids = {row_id(name): name for name in names}
    wanted = c.id.in_(bindparam("ids", list(ids), expanding=True))
    rows = connection.execute(select(c.id, c.name, c.message, c.eta).where(wanted, c.eta.is_not(None)))
    return {ids[id_]: Line(ids[id_], task, text or "", _utc(eta)) for id_, task, text, eta in rows}


def take(ledger: Ledger, connection: Connection, name: str, now: datetime) -> datetime | None:
    """Lock an entry that is due until the transaction ends.

    :returns: its tick; ``None`` if another beat has it, or had it.
    """
    c = ledger.table.c
    due = select(c.eta).where(c.id == row_id(name), c.eta <= now).with_for_update(skip_locked=True)
    eta = connection.execute(due).scalar()
    return None if eta is None else _utc(eta)


def move_on(ledger: Ledger, connection: Connection, line: Line, tick: datetime) -> bool:
    """Let an entry wait for its next tick.

    :param line: the entry, with the tick that was taken.
    :param tick: the next one.
    :returns: whether it waited for the one that was taken. SQLite knows no locks of rows, and lets two beats take it.
    """
    c = ledger.table.c
    mine = update(ledger.table).where(c.id == row_id(line.name), c.eta == line.tick)
    return connection.execute(mine.values(eta=tick, message=line.timetable)).rowcount == 1


def _row(line: Line) -> dict[str, Any]:
    row = {"id": row_id(line.name), "name": line.task, "state": State.SCHEDULE}
    return {**row, "message": line.timetable, "eta": line.tick}


def _utc(value: datetime) -> datetime:
    return (aware(value) or value).astimezone(UTC)
