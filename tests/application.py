"""A small Pyramid application and its tasks, for the tests of the library."""

from __future__ import annotations

import base64
import json
import logging
from contextlib import contextmanager

import pyramid_tm
import redis
import zope.sqlalchemy
from celery.contrib.testing.worker import start_worker
from pyramid.config import Configurator
from sqlalchemy import ForeignKey, String, create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, sessionmaker
from sqlalchemy.pool import NullPool

from pyramid_celery_tm import LedgerMixin, RequestAwareTask, TransactionalTask
from pyramid_celery_tm.app import apply_settings, celery_app

QUEUES = ("celery", "heavy", "background")


class Base(DeclarativeBase):
    pass


class Note(Base):
    __tablename__ = "note"

    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str] = mapped_column(String(100))
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("note.id"))


class TaskRecord(LedgerMixin, Base):
    __tablename__ = "task_record"


def make_config(url=None, pool=NullPool, *, ledger=False, isolation=None, **settings):
    """An application as the Pyramid cookiecutter makes it: explicit transactions, a session per request.

    With ``ledger`` its tasks are kept in the table of :class:`TaskRecord`; ``isolation`` is the level of transactions.
    """
    settings = {"tm.manager_hook": pyramid_tm.explicit_manager, **settings}
    config = Configurator(settings=settings, package=pyramid_tm)
    config.include("pyramid_tm")
    config.include("pyramid_celery_tm")
    config.add_route("page", "/page/{id}")
    if url:
        engine = create_engine(url, poolclass=pool, **({"isolation_level": isolation} if isolation else {}))
        Base.metadata.create_all(engine)
        factory = sessionmaker(bind=engine)
        config.registry["engine"], config.registry["dbsession_factory"] = engine, factory
        config.add_request_method(make_session, "dbsession", reify=True)
        if ledger:
            config.configure_ledger(TaskRecord, engine)
    return config


def make_session(request):
    session = request.registry["dbsession_factory"](info={"request": request})
    zope.sqlalchemy.register(session, transaction_manager=request.tm)
    return session


def configure(config, broker, **celery):
    """Configure Celery with an application; settings of Celery's are given by keyword."""
    config.commit()
    values = {"broker_url": broker, "result_backend": broker, "worker_hijack_root_logger": False, **celery}
    apply_settings(celery_app, config.registry, "test.ini", values)
    return config.registry


def queued(url, *queues):
    """What waits in a Redis broker, oldest first: name, args, headers of each message."""
    with redis.Redis.from_url(url) as client:
        raw = [item for queue in queues or QUEUES for item in reversed(client.lrange(queue, 0, -1))]
    return [decode(json.loads(item)) for item in raw]


def decode(envelope):
    args, kwargs, embed = json.loads(base64.b64decode(envelope["body"]))
    return {**envelope["headers"], "args": args, "kwargs": kwargs, "embed": embed, "envelope": envelope}


def texts(registry):
    """The committed notes."""
    with registry["dbsession_factory"]() as session:
        return [note.text for note in session.query(Note).order_by(Note.id)]


def records(registry):
    """The rows of the ledger, in the order of their calls."""
    with registry["dbsession_factory"]() as session:
        session.expire_on_commit = False
        return session.query(TaskRecord).order_by(TaskRecord.created_at, TaskRecord.id).all()


@contextmanager
def worker(**options):
    """A real worker in a thread of this process."""
    options = {"pool": "solo", "perform_ping_check": False, "shutdown_timeout": 30, **options}
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    try:
        with start_worker(celery_app, **options) as running:
            yield running
    finally:  # the worker has set up logging as if the process were its own
        root.setLevel(level)
        root.handlers[:] = handlers


@celery_app.task(base=TransactionalTask, name="add")
def add(request, x, y=0):
    return x + y


@celery_app.task(base=TransactionalTask, name="bound_add", bind=True)
def bound_add(self, request, x, y=0):
    return x + y


@celery_app.task(base=RequestAwareTask, name="heavy", is_heavy_task=True)
def heavy(request, x=0):
    return x


@celery_app.task(base=RequestAwareTask, name="background", is_background=True)
def background(request):
    return None


@celery_app.task(name="plain")
def plain(x=0):
    return x


@celery_app.task(base=TransactionalTask, name="total")
def total(request, numbers):
    return sum(numbers)


@celery_app.task(base=TransactionalTask, name="write")
def write(request, text, fail=False):
    request.dbsession.add(Note(text=text))
    request.dbsession.flush()
    add.delay(1, 1)
    if fail:
        raise ValueError(text)
    return text


@celery_app.task(base=TransactionalTask, name="retrying", bind=True, max_retries=5)
def retrying(self, request, text, times):
    request.dbsession.add(Note(text=f"{text} {self.request.retries}"))
    if self.request.retries < times:
        add.delay(self.request.retries)
        raise self.retry(countdown=0)
    return self.request.retries


@celery_app.task(base=TransactionalTask, name="failed")
def failed(request, task_uuid, text):
    request.dbsession.add(Note(text=f"{text} {type(celery_app.AsyncResult(task_uuid).result).__name__}"))
