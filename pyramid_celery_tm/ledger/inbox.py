"""What a worker asks and says: may this message run, what came of it.

A claim is a write: the row of the call, and no other, decides which of the copies of a message has an effect.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from sqlalchemy import Connection, Select, Table, Update, bindparam, case, select, update

from . import Ledger, outbox
from .model import State, utcnow

#: How long a worker may take to send what follows a task before another one is asked to, in seconds.
FOLLOW_UP = 30.0

#: How long a row may be locked before its call is taken for running, and how often that is looked at, in seconds.
PATIENCE = 0.5
PAUSE = 0.02

#: The states in which a call may run.
OPEN = (State.PENDING, State.SENT)


@dataclass(frozen=True)
class Known:
    """What the ledger knows of a call that cannot be claimed.

    :ivar state: where it stands; ``None`` where there is no row.
    :ivar result: what it returned or raised, as JSON.
    :ivar error: why it failed; ``None`` if it did not.
    """

    state: State | None
    result: str | None = None
    error: str | None = None


@dataclass(frozen=True)
class Claim:
    """What identifies a message to the ledger.

    :ivar task_id: the id of the task.
    :ivar name: the name of the task. Another task may have taken the place, and the id, of the one in the message.
    :ivar retries: retries in Celery's count. Only the newest try may run.
    :ivar followed: whether there is anything to send after the task.
    """

    task_id: str
    name: str
    retries: int = 0
    followed: bool = False

    def outcome(self) -> dict[str, Any]:
        """What the row says once the task has run."""
        return outcome(State.DONE, followed=self.followed)


def outcome(state: State, *, followed: bool) -> dict[str, Any]:
    """What the row of a call says that is over.

    :param state: how it ended.
    :param followed: whether there is anything to send after it.
    """
    now = utcnow()
    if followed:
        return {"state": State.ANSWERED, "due_at": now + timedelta(seconds=FOLLOW_UP), "finished_at": now}
    return {"state": state, "due_at": None, "finished_at": now}


def claim(ledger: Ledger, connection: Connection, wanted: Claim, *, counted: bool = False) -> bool:
    """Claim a call in the transaction of its task: the effect is to happen if, and only if, this commits.

    A row that is locked is another copy's, as a rule. But whoever marks calls as sent locks them, too, for a moment in
    which a fast worker may already be here.

    :param counted: whether :func:`begin` has counted this start.
    :returns: whether it may run. If not, :func:`look` says why.
    """
    values = {"starts_now": 0 if counted else 1, **_said(wanted)}
    return _patiently(connection, _claiming(ledger.table), _open(ledger.table), values) is not None


def adopt(ledger: Ledger, connection: Connection, wanted: Claim, queue: str | None) -> bool:
    """Claim a call that was not written into the ledger when it was made: its message came from elsewhere.

    :returns: whether it may run.
    """
    row = {"id": wanted.task_id, "name": wanted.name, "queue": queue, "retries": wanted.retries, "starts": 1}
    row.update(wanted.outcome(), sends=1, due_at=None)
    return bool(outbox.add(ledger, connection, [row])) or claim(ledger, connection, wanted)


def begin(ledger: Ledger, wanted: Claim, lease: float | None = None) -> int | None:
    """Note and commit that a call starts, before it does.

    For a task without a transaction to claim it in; and for a message that has come before, because only what is
    committed is still known when the task kills its worker.

    :param lease: seconds in which the relay leaves the call alone; ``None`` for a call that is claimed next.
    :returns: how often it was started, with this time; ``None`` where it may not run.
    """
    table = ledger.table
    # The start before this one was never noted if the task killed its worker.
    values: dict[str, Any] = {"starts": case((table.c.starts > 1, table.c.starts), else_=1) + 1}
    if lease is not None:
        values = {"starts": table.c.starts + 1, "due_at": utcnow() + timedelta(seconds=lease)}
    statement = _of_claimable(table).values(values).returning(table.c.starts)
    with ledger.autocommit() as connection:
        starts: int | None = _patiently(connection, statement, _open(table), _key(wanted))
        return starts


def renew(ledger: Ledger, task_id: str, lease: float) -> None:
    """Have the relay leave a call alone that still runs, and holds no lock to show it.

    :param lease: seconds from now.
    """
    c = ledger.table.c
    until = utcnow() + timedelta(seconds=lease)
    statement = update(ledger.table).where(c.id == task_id, c.state.in_(OPEN), c.due_at < until)
    with ledger.autocommit() as connection:
        connection.execute(statement.values(due_at=until))


def look(ledger: Ledger, connection: Connection, task_id: str) -> Known:
    """What is known of a call."""
    table = ledger.table
    statement = select(table.c.state, table.c.result, table.c.error).where(table.c.id == task_id)
    row = connection.execute(statement).first()
    return Known(None) if row is None else Known(State(row.state), row.result, row.error)


def answer(ledger: Ledger, connection: Connection, task_id: str, values: Mapping[str, Any]) -> None:
    """Change the row of a claimed call, in the transaction that claimed it."""
    table = ledger.table
    connection.execute(update(table).where(table.c.id == task_id).values(dict(values)))


def settle(ledger: Ledger, wanted: Claim, values: Mapping[str, Any]) -> None:
    """Write the outcome of a call in a transaction of its own: there is none to write it in, or it was rolled back.

    :param values: beside what an outcome always says: ``result``, ``error``, ``traceback``, ``state``.
    """
    table = ledger.table
    statement = update(table).where(table.c.id == wanted.task_id, table.c.name == wanted.name)
    statement = statement.where(table.c.state.in_(OPEN), table.c.retries <= wanted.retries)
    with ledger.autocommit() as connection:
        connection.execute(statement.values({**wanted.outcome(), **values}))


def finish(ledger: Ledger, task_id: str) -> None:
    """Note that what follows a call is on its way."""
    table = ledger.table
    state = case((table.c.error.is_(None), State.DONE), else_=State.FAILED)
    statement = update(table).where(table.c.id == task_id, table.c.state == State.ANSWERED)
    with ledger.autocommit() as connection:
        connection.execute(statement.values(state=state, due_at=None))


def _patiently(connection: Connection, statement: Any, still_open: Any, values: Mapping[str, Any]) -> Any:
    """Run a statement until it finds its row free, for a moment; the answer, or ``None``."""
    until = time.monotonic() + PATIENCE
    while (answer := connection.execute(statement, values).scalar()) is None and time.monotonic() < until:
        if connection.execute(still_open, values).scalar() is None:
            break
        time.sleep(PAUSE)
    return answer


def _key(wanted: Claim) -> dict[str, Any]:
    return {"task_id": wanted.task_id, "task_name": wanted.name, "task_retries": wanted.retries}


def _said(wanted: Claim) -> dict[str, Any]:
    return {**_key(wanted), **{f"{name}_now": value for name, value in wanted.outcome().items()}}


# Made once: to make a statement takes longer than to run it.


@cache
def _open(table: Table) -> Select[Any]:
    """Finds the row of a call that may run, or runs."""
    c = table.c
    mine = (c.id == bindparam("task_id"), c.name == bindparam("task_name"), c.retries <= bindparam("task_retries"))
    return select(c.id).where(*mine, c.state.in_(OPEN))


def _of_claimable(table: Table) -> Update:
    """Changes the row of a call that may run, unless somebody has locked it."""
    claimable = _open(table).with_for_update(skip_locked=True)
    return update(table).where(table.c.id == claimable.scalar_subquery())


@cache
def _claiming(table: Table) -> Any:
    said = {name: bindparam(f"{name}_now", type_=table.c[name].type) for name in ("state", "due_at", "finished_at")}
    starts = table.c.starts + bindparam("starts_now")
    return _of_claimable(table).values(**said, starts=starts).returning(table.c.id)


def revoke(ledger: Ledger, task_id: str, reason: str) -> None:
    """Note that a call will not run; waits for one that was running a moment ago."""
    table = ledger.table
    values: dict[str, Any] = {"state": State.REVOKED, "error": reason, "due_at": None, "finished_at": utcnow()}
    with ledger.autocommit() as connection:
        connection.execute(update(table).where(table.c.id == task_id, table.c.state.in_(OPEN)).values(values))


def let_go(ledger: Ledger, task_id: str, at: datetime) -> None:
    """Have the relay look at a call at this time: whoever ran it is gone."""
    table = ledger.table
    with ledger.autocommit() as connection:
        connection.execute(update(table).where(table.c.id == task_id, table.c.state.in_(OPEN)).values(due_at=at))
