"""Writes calls, and notes what became of their messages."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from sqlalchemy import (
    JSON,
    Connection,
    Table,
    Text,
    Update,
    bindparam,
    case,
    cast,
    column,
    delete,
    func,
    insert,
    select,
    update,
)
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
    if not values:
        return set()
    if ledger.engine.dialect.name == "postgresql":
        text = json.dumps(values, default=datetime.isoformat)
        return set(connection.execute(_adding_json(ledger.table), {"rows": text}).scalars())
    return set(connection.execute(_adding(ledger.table, ledger.engine.dialect.name), values).scalars())


def put_back(ledger: Ledger, connection: Connection, row: Row) -> bool:
    """Let the call of a row wait again, with another message: a retry, or a task that replaces it.

    :returns: whether it waits; a call that was answered does not.
    """
    columns = ("name", "queue", "state", "message", "retries", "due_at", "eta", "expires_at", "starts", "sends")
    values = {**_DEFAULTS, "created_at": utcnow(), **row}
    table = ledger.table
    statement = _insert(table, ledger.engine.dialect.name).values(values)
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
    now = utcnow()
    values: dict[str, Any] = {
        "ids": list(ids),
        "unclaimed": list(unclaimed),
        "now": now,
        "again": now + timedelta(seconds=ledger.policy.resend_after),
    }
    with ledger.autocommit() as connection:
        connection.execute(_marking(ledger.table, plain=bool(values["unclaimed"])), values)


# Made once: to make a statement takes longer than to run it.


@cache
def _adding(table: Table, dialect: str) -> Any:
    return _insert(table, dialect).on_conflict_do_nothing(index_elements=["id"]).returning(table.c.id)


@cache
def _adding_json(table: Table) -> Any:
    # One parameter, whatever the number of rows: a placeholder for each value would cost more than the insert.
    names = [*_DEFAULTS, "id", "name", "state", "created_at"]
    columns = [column(name, table.c[name].type) for name in names]
    rows = (
        func.json_to_recordset(cast(bindparam("rows", type_=Text), JSON))
        .table_valued(*columns)
        .render_derived(with_types=True)
    )
    statement = postgresql.insert(table).from_select(names, select(*(rows.c[name] for name in names)))
    return statement.on_conflict_do_nothing(index_elements=["id"]).returning(table.c.id)


@cache
def _marking(table: Table, *, plain: bool) -> Update:
    c = table.c
    moment = {name: bindparam(name, type_=c.due_at.type) for name in ("now", "again")}
    free = select(c.id).where(c.id.in_(bindparam("ids", expanding=True)), c.state == State.PENDING)
    # A worker that holds a message until its time has come has not lost it.
    due: Any = case((c.eta > moment["again"], c.eta), else_=moment["again"])
    values: dict[str, Any] = {"state": State.SENT, "sends": c.sends + 1, "due_at": due}
    if plain:
        done = c.id.in_(bindparam("unclaimed", expanding=True))
        values["state"] = case((done, State.DONE), else_=State.SENT)
        values["due_at"] = case((done, None), else_=due)
        values["finished_at"] = case((done, moment["now"]), else_=None)
    return update(table).where(c.id.in_(free.with_for_update(skip_locked=True))).values(values)


def _insert(table: Table, dialect: str) -> Any:
    dialects: dict[str, Any] = {"postgresql": postgresql.insert, "sqlite": sqlite.insert}
    return dialects.get(dialect, insert)(table)
