"""Which session the ledger is written with: the one whose commit saves the application's data."""

from __future__ import annotations

from typing import Any

import zope.sqlalchemy
from sqlalchemy import Connection
from sqlalchemy.exc import UnboundExecutionError
from sqlalchemy.orm import Session, scoped_session
from transaction.interfaces import ITransaction

from .ledger import Ledger
from .savepoints import joined_sessions


def joined(ledger: Ledger, transaction: ITransaction) -> Session | None:
    """The session that has joined a transaction and writes into the database of the ledger; ``None`` if there is none.

    An application may have several databases, and sessions for them.
    """
    return next((session for session in joined_sessions(transaction) if _fits(ledger, session)), None)


def join(ledger: Ledger, manager: Any, request: Any) -> Session:
    """A session of the ledger's database that takes part in the transaction of a manager, and will be committed.

    :param manager: a transaction manager whose transaction is open.
    :param request: the request whose session may be used; ``None`` where there is none.
    """
    session = joined(ledger, manager.get())
    if session is None:
        session = _of_request(ledger, request) or _own(ledger, manager)
    # First the connection, with which the session joins in the way that the application has registered it.
    connection(ledger, session)
    zope.sqlalchemy.mark_changed(session, manager)
    return session


def connection(ledger: Ledger, session: Session) -> Connection:
    """The connection of a session to the database of the ledger, in the session's transaction."""
    return session.connection(bind_arguments={"clause": ledger.table})


def _of_request(ledger: Ledger, request: Any) -> Session | None:
    session = getattr(request, ledger.policy.dbsession, None)
    if isinstance(session, scoped_session):
        session = session()
    return session if isinstance(session, Session) and _fits(ledger, session) else None


def _own(ledger: Ledger, manager: Any) -> Session:
    session = Session(ledger.committing)
    zope.sqlalchemy.register(session, transaction_manager=manager)
    return session


def _fits(ledger: Ledger, session: Session) -> bool:
    try:
        return ledger.same_database(session.get_bind(clause=ledger.table))
    except UnboundExecutionError:
        return False
