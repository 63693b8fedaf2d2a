"""The models, the engine and the session of a request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import zope.sqlalchemy
from pyramid.config import Configurator
from pyramid.request import Request
from sqlalchemy import Engine, engine_from_config
from sqlalchemy.orm import Session, configure_mappers, sessionmaker
from transaction.interfaces import ITransactionManager

from ..sqlite import prepare_sqlite

# Every model is imported here, so that Base.metadata knows all tables before anybody asks.
from .backup import Backup
from .customer import Customer
from .delivery import AlreadyCompleted, Delivery, DeliveryState
from .meta import Base
from .review import Review
from .review_message import ReviewMessage
from .task_record import TaskRecord

__all__ = [
    "AlreadyCompleted",
    "Backup",
    "Base",
    "Customer",
    "Delivery",
    "DeliveryState",
    "Review",
    "ReviewMessage",
    "TaskRecord",
    "get_engine",
    "get_session_factory",
    "get_tm_session",
    "includeme",
]

# Relationships name their classes as strings: a wrong name fails here and not in the first request.
configure_mappers()


def get_engine(settings: Mapping[str, Any], prefix: str = "sqlalchemy.") -> Engine:
    """Make an engine.

    :param settings: the settings of ``[app:main]``.
    :param prefix: what the options of the engine begin with there.
    :return: a new engine; it connects when it is first used.
    """
    engine = engine_from_config(dict(settings), prefix)
    if engine.dialect.name == "sqlite":
        prepare_sqlite(engine)
    return engine


def get_session_factory(engine: Engine) -> sessionmaker[Session]:
    """:return: what makes sessions on this engine."""
    return sessionmaker(bind=engine)


def get_tm_session(
    session_factory: sessionmaker[Session], transaction_manager: ITransactionManager, request: Request | None = None
) -> Session:
    """Make a session that lives and dies with the transactions of a manager.

    :param session_factory: what :func:`get_session_factory` returned.
    :param transaction_manager: the manager whose commit and abort the session follows.
    :param request: kept as ``dbsession.info["request"]``, where an event listener of SQLAlchemy finds it.
    :return: the session; it must not be committed by hand.
    """
    dbsession = session_factory(info={"request": request})
    zope.sqlalchemy.register(dbsession, transaction_manager=transaction_manager)
    return dbsession


def includeme(config: Configurator) -> None:
    """Give each request a transaction and a session.

    - ``pyramid_tm`` opens a transaction for each request, in explicit mode: what touches the database outside of it
      fails instead of opening one that nobody closes;
    - ``pyramid_retry`` runs a request again that lost a conflict;
    - ``request.dbsession`` is the session, bound to ``request.tm``.

    Tests may hand in an engine as the setting ``dbengine``, and a session as ``app.dbsession`` in the environ.
    """
    settings = config.get_settings()
    settings["tm.manager_hook"] = "pyramid_tm.explicit_manager"
    config.include("pyramid_tm")
    config.include("pyramid_retry")

    engine = settings.get("dbengine") or get_engine(settings)
    session_factory = get_session_factory(engine)
    config.registry["dbengine"] = engine
    config.registry["dbsession_factory"] = session_factory

    def dbsession(request: Request) -> Session:
        given: Session | None = request.environ.get("app.dbsession")
        return get_tm_session(session_factory, request.tm, request=request) if given is None else given

    config.add_request_method(dbsession, reify=True)
