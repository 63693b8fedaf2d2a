"""What is left over: calls that have not reached the broker, or were sent and never finished.

They are found by their state and time, never by a cursor: transactions commit out of order.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import bindparam, case, delete, or_, select, update

from . import Ledger
from .model import State, utcnow

#: How long a relay may take to send what it took, before another one may, in seconds.
LEASE = 30.0
#: How many rows are deleted at a time: nothing is gained by a long transaction.
BITE = 1000


@dataclass(frozen=True)
class Waiting:
    """A call whose time has come.

    :ivar sends: how often its message was sent before.
    """

    id: str
    name: str
    message: str
    sends: int


def take(ledger: Ledger) -> list[Waiting]:
    """Take a batch of calls whose time has come, so that no other relay has them for a while.

    Nothing is locked when this returns: a broker that hangs must not keep a transaction open. Calls that run are locked
    by their workers and are not taken.
    """
    c = ledger.table.c
    now = utcnow()
    due = select(c.id).where(c.due_at <= now, c.message.is_not(None)).order_by(c.due_at)
    # With a LIMIT it has to be a CTE, which runs once; a subquery may be planned to run again and again.
    # And with a number for its limit: a plan for any number would rather read the whole table.
    size: Any = bindparam("size", ledger.policy.relay_batch, literal_execute=True)
    batch = due.limit(size).with_for_update(skip_locked=True).cte("batch")
    statement = update(ledger.table).where(c.id.in_(select(batch.c.id))).values(due_at=now + timedelta(seconds=LEASE))
    with ledger.autocommit() as connection:
        return [Waiting(*row) for row in connection.execute(statement.returning(c.id, c.name, c.message, c.sends))]


def note_sent(ledger: Ledger, sent: Collection[Waiting], unclaimed: Collection[str] = ()) -> None:
    """Note in one statement that these messages were sent, once more perhaps.

    :param unclaimed: the ids of those that no worker of ours will ever claim: they are done.
    """
    if not sent:
        return
    c = ledger.table.c
    now = utcnow()
    # How long to wait depends on how often each was sent.
    again = {item.sends: now + timedelta(seconds=ledger.policy.backoff(item.sends + 1)) for item in sent}
    due = case(*((c.sends == sends, time) for sends, time in again.items()))
    plain = c.id.in_(list(unclaimed))
    values: dict[str, Any] = {
        "state": case((plain, State.DONE), (c.state == State.PENDING, State.SENT), else_=c.state),
        "sends": c.sends + 1,
        "due_at": case((plain, None), (c.eta > due, c.eta), else_=due),
        "finished_at": case((plain, now), else_=c.finished_at),
    }
    ids = [item.id for item in sent]
    # Whatever was claimed, answered or retried meanwhile has been looked after.
    free = select(c.id).where(c.id.in_(bindparam("ids", ids, expanding=True)), c.due_at.is_not(None))
    free = free.where(c.sends.in_(list(again))).with_for_update(skip_locked=True)
    with ledger.autocommit() as connection:
        connection.execute(update(ledger.table).where(c.id.in_(free)).values(values))


def forget(ledger: Ledger, queues: Collection[str]) -> int:
    """Revoke the calls whose messages wait in queues: somebody has emptied those, and wants no relay to fill them.

    Calls that run, and those that wait for their time, stay.

    :returns: how many were revoked.
    """
    c, now = ledger.table.c, utcnow()
    waiting = (c.state.in_((State.PENDING, State.SENT))) & or_(c.eta.is_(None), c.eta <= now)
    free = select(c.id).where(waiting, c.queue.in_(list(queues))).with_for_update(skip_locked=True)
    values = {"state": State.REVOKED, "error": "purged", "due_at": None, "finished_at": now}
    with ledger.autocommit() as connection:
        return connection.execute(update(ledger.table).where(c.id.in_(free)).values(values)).rowcount


def purge(ledger: Ledger, bite: int = BITE) -> int:
    """Delete what was finished long enough ago, a bite of it.

    :param bite: how many rows at most.
    :returns: how many were deleted; fewer than the bite when nothing is left.
    """
    c, policy, now = ledger.table.c, ledger.policy, utcnow()
    done = (c.state.in_((State.DONE, State.REVOKED))) & (c.finished_at < now - timedelta(seconds=policy.keep_done))
    failed = (c.state == State.FAILED) & (c.finished_at < now - timedelta(seconds=policy.keep_failed))
    old = select(c.id).where(or_(done, failed), c.finished_at < now - timedelta(seconds=_shorter(ledger)))
    old = old.order_by(c.finished_at).limit(bite).with_for_update(skip_locked=True)
    with ledger.autocommit() as connection:
        return connection.execute(delete(ledger.table).where(c.id.in_(old))).rowcount


def _shorter(ledger: Ledger) -> float:
    return min(ledger.policy.keep_done, ledger.policy.keep_failed)
