"""The application that things happen to: every effect is a row, and every start, too."""

from __future__ import annotations

import os
import time

import zope.sqlalchemy
from pyramid.config import Configurator
from sqlalchemy import String, create_engine, insert
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, sessionmaker

from pyramid_celery_tm import LedgerMixin, RequestAwareTask, TransactionalTask, celery_app


class Base(DeclarativeBase):
    pass


class Order(Base):
    """What a web request saves, together with a call."""

    __tablename__ = "order"

    key: Mapped[str] = mapped_column(String(100), primary_key=True)


class Effect(Base):
    """What a task does. Nothing keeps it from happening twice."""

    __tablename__ = "effect"

    id: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(String(100))


class Start(Base):
    """A task that was started, whatever became of it."""

    __tablename__ = "start"

    id: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(String(100))
    process: Mapped[int]


class TaskRecord(LedgerMixin, Base):
    __tablename__ = "task_record"


def configured(**settings):
    """The application, before Celery is configured."""
    config = Configurator(settings={"tm.manager_hook": "pyramid_tm.explicit_manager", **settings})
    config.include("pyramid_tm")
    config.include("pyramid_celery_tm")
    engine = create_engine(settings["sqlalchemy.url"], pool_pre_ping=True)
    factory = sessionmaker(bind=engine)
    config.registry["engine"] = engine
    config.registry["outside"] = engine.execution_options(isolation_level="AUTOCOMMIT")

    def dbsession(request):
        session = factory()
        zope.sqlalchemy.register(session, transaction_manager=request.tm)
        return session

    config.add_request_method(dbsession, reify=True)
    config.configure_ledger(TaskRecord, engine)
    return config


def main(global_config, **settings):
    config = configured(**settings)
    config.configure_celery(global_config)
    return config.make_wsgi_app()


def note_start(request, key):
    with request.registry["outside"].connect() as connection:
        connection.execute(insert(Start).values(key=key, process=os.getpid()))


@celery_app.task(base=TransactionalTask, name="effect")
def effect(request, key, seconds=0.0):
    note_start(request, key)
    request.dbsession.add(Effect(key=key))
    request.dbsession.flush()
    time.sleep(seconds)
    return key


@celery_app.task(base=TransactionalTask, name="late", acks_late=True, reject_on_worker_lost=True)
def late(request, key, seconds=0.0):
    return effect.run(request, key, seconds)


@celery_app.task(base=TransactionalTask, name="follows")
def follows(request, previous, key):
    """A step of a chain, a callback, a body of a chord: what it was given must be what was before it."""
    note_start(request, key)
    request.dbsession.add(Effect(key=key))
    return key


@celery_app.task(base=TransactionalTask, name="tries", bind=True, max_retries=10)
def tries(self, request, key, times):
    note_start(request, key)
    request.dbsession.add(Effect(key=key))
    if self.request.retries < times:
        raise self.retry(countdown=1)
    return self.request.retries


@celery_app.task(base=RequestAwareTask, name="outside")
def outside(request, key):
    note_start(request, key)
    with request.tm:
        request.dbsession.merge(Order(key=f"outside {key}"))
