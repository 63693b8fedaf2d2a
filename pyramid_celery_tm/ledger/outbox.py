"""Writes calls, and notes what became of their messages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, bindparam, case, delete, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from . import Ledger
from .model import State, utcnow

#: A row that is to be written: the columns by name.
Row = Mapping[str, Any]

#: What a row has that does not say otherwise.
_DEFAULTS: dict[str, Any] = {
    **dict.fromkeys(("queue", "message", "due_at", "eta", "expires_at", "finished_at", "result", "error", "chord_id")),
    "retries": 0,
    "starts": 0,
    "sends": 0,
}


def add(ledger: Ledger, connection: Connection, rows: Sequence[Row]) -> set[str]:
    """Write rows, all in one statement.

    :param connection: in whose transaction.
    :returns: the ids that were written. One that was there before is not: it stands for the same call, which need not
        happen again.
    """
    now = utcnow()
    values = [{**_DEFAULTS, "created_at": now, **row} for row in rows]
    statement = _insert(ledger).on_conflict_do_nothing(index_elements=["id"]).returning(ledger.table.c.id)
    return set(connection.execute(statement, values).scalars()) if values else set()


def put_back(ledger: Ledger, connection: Connection, row: Row) -> bool:
    """Let the call of a row wait again, with another message: a retry, or a task that replaces it.

    :returns: whether it waits; a call that was answered does not.
    """
    columns = ("name", "queue", "state", "message", "retries", "due_at", "eta", "expires_at", "starts", "sends")
    values = {**_DEFAULTS, "created_at": utcnow(), **row}
    statement = _insert(ledger).values(values)
    table = ledger.table
    statement = statement.on_conflict_do_update(
        index_elements=["id"],
        set_={name: statement.excluded[name] for name in columns},
        where=table.c.state.in_((State.PENDING, State.SENT)),
    ).returning(table.c.id)
    return connection.execute(statement).scalar() is not None


def drop(ledger: Ledger, connection: Connection, task_id: str) -> None:
    """Forget a call: others have taken its place."""
    connection.execute(delete(ledger.table).where(ledger.table.c.id == task_id))


def mark_sent(ledger: Ledger, ids: Iterable[str], unclaimed: Iterable[str] = ()) -> None:
    """Note in one statement that the broker has the messages of these calls.

    A call that runs already is locked by its worker, and skipped: it will be marked as done, or sent again.

    :param unclaimed: those among them that no worker of ours will ever claim: they are done.
    """
    table = ledger.table
    now = utcnow()
    again = now + timedelta(seconds=ledger.policy.resend_after)
    ids, unclaimed = list(ids), list(unclaimed)
    free = select(table.c.id).where(table.c.id.in_(bindparam("ids", ids, expanding=True)))
    free = free.where(table.c.state == State.PENDING).with_for_update(skip_locked=True)
    values: dict[str, Any] = {"state": State.SENT, "sends": table.c.sends + 1, "due_at": _later(table, again)}
    if unclaimed:
        plain = table.c.id.in_(unclaimed)
        values = {
            "sends": table.c.sends + 1,
            "state": case((plain, State.DONE), else_=State.SENT),
            "due_at": case((plain, None), else_=values["due_at"]),
            "finished_at": case((plain, now), else_=None),
        }
    with ledger.autocommit() as connection:
        connection.execute(update(table).where(table.c.id.in_(free)).values(values))


def _later(table: Any, again: datetime) -> Any:
    # A worker that holds a message until its time has come has not lost it.
    return case((table.c.eta > again, table.c.eta), else_=again)


def _insert(ledger: Ledger) -> Any:
    dialects: dict[str, Any] = {"postgresql": postgresql.insert, "sqlite": sqlite.insert}
    return dialects.get(ledger.engine.dialect.name, insert)(ledger.table)
