"""Follows the savepoints that SQLAlchemy makes by itself.

``tm.savepoint()`` is known to the transaction, and :mod:`pyramid_celery_tm.deferral` hears of it. ``with
dbsession.begin_nested():`` is not: only SQLAlchemy knows that block and its rollback. So each call is noted with the
nested transactions that were open when it was made, and dropped when one of them is rolled back.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, MutableMapping
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import event
from sqlalchemy.orm import Session, SessionTransaction
from transaction.interfaces import ITransaction
from zope.sqlalchemy.datamanager import SessionDataManager

from .deferral import Call

_NESTED = "pyramid_celery_tm.nested"


def follow(transaction: ITransaction, call: Call, sessions: Iterable[Session] = ()) -> None:
    """Drop a call when a savepoint of SQLAlchemy's that is open now is rolled back.

    :param transaction: the transaction that holds the call.
    :param call: the call.
    :param sessions: sessions that belong to the transaction though they have not joined it yet: one joins with its
        first statement, which may come after the call in the same block.
    """
    for session in {*joined_sessions(transaction), *sessions}:
        for nested in _open_savepoints(session):
            _noted(session).setdefault(nested, []).append(call)


def joined_sessions(transaction: Any) -> Iterator[Session]:
    """The sessions that have joined a transaction."""
    # ``transaction`` has no public way to ask who joined; its own manager reads this attribute as well.
    for resource in transaction._resources:  # noqa: SLF001
        if isinstance(resource, SessionDataManager) and resource.session is not None:
            yield resource.session


def _open_savepoints(session: Session) -> Iterator[SessionTransaction]:
    current = session.get_nested_transaction()
    while current is not None:
        if current.nested:
            yield current
        current = current.parent


def _noted(session: Session) -> MutableMapping[SessionTransaction, list[Call]]:
    noted: MutableMapping[SessionTransaction, list[Call]] | None = session.info.get(_NESTED)
    if noted is None:
        noted = session.info[_NESTED] = WeakKeyDictionary()  # released savepoints go by themselves
        # On this session, at its first need: most sessions never see a savepoint, and should not pay for one.
        event.listen(session, "after_soft_rollback", _rolled_back)
    return noted


def _rolled_back(session: Session, previous: SessionTransaction) -> None:
    for call in session.info[_NESTED].pop(previous, ()):
        call.drop()
