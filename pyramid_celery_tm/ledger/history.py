"""What people ask of the ledger: how many calls stand where, which failed, what is known of one; and to send it again.

Nothing here runs by itself. Reading takes no locks.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, bindparam, case, func, or_, select, true, update

from . import Ledger
from .model import State, aware, utcnow

#: The states of calls that are not finished.
UNFINISHED = (State.PENDING, State.SENT, State.ANSWERED)
#: The states in which a call can be sent again by hand.
RESENDABLE = (State.FAILED, State.REVOKED)
#: How many rows are changed at a time.
BITE = 1000


@dataclass(frozen=True)
class Call:
    """A row of the ledger, without what is long; :class:`pyramid_celery_tm.ledger.LedgerMixin` says what each is."""

    id: str
    name: str
    queue: str | None
    state: str
    retries: int
    starts: int
    sends: int
    created_at: datetime
    eta: datetime | None
    finished_at: datetime | None
    error: str | None

    @property
    def since(self) -> datetime:
        """When it was called, or when its time came if that was later."""
        return max(self.created_at, self.eta or self.created_at)


def counts(ledger: Ledger) -> dict[str, int]:
    """How many rows there are in each state, in the order of :class:`State`."""
    state = ledger.table.c.state
    with ledger.autocommit() as connection:
        rows = connection.execute(select(state, func.count()).group_by(state))
        found: dict[str, int] = {row[0]: row[1] for row in rows}
    return {state.value: found.get(state.value, 0) for state in State}


def oldest_open(ledger: Ledger) -> Call | None:
    """Of the calls that are not finished, and whose time has come, the one that has waited longest."""
    c = ledger.table.c
    now = utcnow()
    begun = case((c.eta > c.created_at, c.eta), else_=c.created_at)
    found = _calls(ledger, c.state.in_(UNFINISHED) & (begun <= now), begun, limit=1)
    return found[0] if found else None


def list_open(ledger: Ledger, limit: int, name: str | None = None) -> list[Call]:
    """Calls that are not finished, the oldest first.

    :param limit: how many at most.
    :param name: of this task only.
    """
    c = ledger.table.c
    return _calls(ledger, c.state.in_(UNFINISHED) & _named(ledger, name), c.created_at, limit)


def list_failed(ledger: Ledger, limit: int, name: str | None = None) -> list[Call]:
    """Calls that failed for good, the newest first; parameters as for :func:`list_open`."""
    c = ledger.table.c
    return _calls(ledger, (c.state == State.FAILED) & _named(ledger, name), c.finished_at.desc(), limit)


def show(ledger: Ledger, call_id: str) -> Mapping[str, Any] | None:
    """All columns of a row; ``None`` where there is none."""
    table = ledger.table
    with ledger.autocommit() as connection:
        row = connection.execute(select(table).where(table.c.id == call_id)).mappings().first()
    return None if row is None else {name: _aware(value) for name, value in row.items()}


def resend(ledger: Ledger, ids: Collection[str]) -> dict[str, str]:
    """Let calls that failed or were revoked wait to be sent, as if they had just been called; a relay sends them.

    Their retries stay counted: one that had used them all up has one try.

    :param ids: the calls.
    :returns: why not, for each that cannot be sent again.
    """
    wanted = list(dict.fromkeys(ids))
    sent = _resend(ledger, ledger.table.c.id.in_(bindparam("ids", wanted, expanding=True)))
    return why_not(ledger, [call_id for call_id in wanted if call_id not in sent])


def resend_failed(ledger: Ledger, name: str | None = None, bite: int = BITE) -> int:
    """The same for all that failed, in bites; what cannot be sent again stays.

    :param name: of this task only.
    :param bite: how many rows at a time.
    :returns: how many wait now.
    """
    c = ledger.table.c
    # What fails again meanwhile is left alone: else a relay that is quick would keep this busy for ever.
    wanted = (c.state == State.FAILED) & (c.finished_at <= utcnow()) & _named(ledger, name)
    number = last = len(_resend(ledger, wanted, bite))
    while last == bite:
        last = len(_resend(ledger, wanted, bite))
        number += last
    return number


def why_not(ledger: Ledger, ids: Collection[str]) -> dict[str, str]:
    """Why these calls were not sent again, in the order given."""
    c = ledger.table.c
    known = select(c.id, c.state, c.message.is_not(None).label("has_message"), c.expires_at)
    with ledger.autocommit() as connection:
        rows = connection.execute(known.where(c.id.in_(bindparam("ids", list(ids), expanding=True))))
        found = {row.id: row for row in rows}
    return {call_id: _why_not(found.get(call_id)) for call_id in ids}


def _resend(ledger: Ledger, wanted: ColumnElement[bool], limit: int | None = None) -> set[str]:
    c = ledger.table.c
    now = utcnow()
    possible = and_(c.state.in_(RESENDABLE), c.message.is_not(None), or_(c.expires_at.is_(None), c.expires_at > now))
    # One that somebody else is sending again at this moment need not be waited for.
    free = select(c.id).where(wanted, possible).limit(limit).with_for_update(skip_locked=True).cte("free")
    values: dict[str, Any] = {
        "state": State.PENDING,
        "starts": 0,
        "sends": 0,
        # Revoked before its time, perhaps; a worker need not hold it until then.
        "due_at": case((c.eta > now, c.eta), else_=now),
        # To its chord it has not returned yet: a chord that is still waiting takes what it will return.
        **dict.fromkeys(("finished_at", "result", "error", "traceback", "chord_id")),
    }
    statement = update(ledger.table).where(c.id.in_(select(free.c.id))).values(values).returning(c.id)
    with ledger.autocommit() as connection:
        return set(connection.execute(statement).scalars())


def _why_not(row: Any) -> str:
    if row is None:
        return "the ledger has no such call"
    if row.state not in RESENDABLE:
        return f"it is {row.state}; only what failed or was revoked can be sent again"
    if not row.has_message:
        return "the ledger does not have its message, which came from elsewhere"
    expires = aware(row.expires_at)
    if expires is not None and expires <= utcnow():
        return f"it expired at {expires:%Y-%m-%d %H:%M:%S} UTC; workers would throw it away"
    return "it is being changed at this moment; try again"


def _calls(ledger: Ledger, wanted: ColumnElement[bool], order: Any, limit: int) -> list[Call]:
    c = ledger.table.c
    columns = [c[field.name] for field in fields(Call)]
    with ledger.autocommit() as connection:
        rows = connection.execute(select(*columns).where(wanted).order_by(order).limit(limit))
        return [Call(*map(_aware, row)) for row in rows]


def _named(ledger: Ledger, name: str | None) -> ColumnElement[bool]:
    return true() if name is None else ledger.table.c.name == name


def _aware(value: Any) -> Any:
    return aware(value) if isinstance(value, datetime) else value
