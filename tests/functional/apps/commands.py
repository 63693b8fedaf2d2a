"""A small Pyramid application for the tests of the commands; its INI file is written by the tests."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import zope.sqlalchemy
from celery import shared_task
from pyramid.config import Configurator
from sqlalchemy import create_engine, event
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, sessionmaker

from pyramid_celery_tm import TransactionalTask, celery_app

logger = logging.getLogger(__name__)


class Base(DeclarativeBase):
    pass


class Machine(Base):
    __tablename__ = "machine"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


def main(global_config, **settings):
    """The application as most are written: it configures Celery itself."""
    with Configurator(settings=settings) as config:
        config.include("pyramid_celery_tm")
        config.configure_celery(global_config["__file__"])
        _add_database(config, settings)
    return config.make_wsgi_app()


def plain(global_config, **settings):
    """One that leaves Celery's configuration to the command."""
    logger.info("starting the plain application")
    return Configurator(settings=settings).make_wsgi_app()


def middleware(global_config, **settings):
    """One that hides its registry in a middleware."""
    application = main(global_config, **settings)

    def call(environ, start_response):
        return application(environ, start_response)

    return call


def broken(global_config, **settings):
    raise ZeroDivisionError("the application's own fault")


def bad_action(global_config, **settings):
    """One whose configuration fails when it is committed."""
    with Configurator(settings=settings) as config:
        config.action("bad", _fail)


def _fail():
    raise ValueError("the action failed")


def foreign(global_config, **settings):
    """No Pyramid application at all."""
    return lambda environ, start_response: []


@celery_app.task(name="tests.add")
def add(x, y):
    return x + y


@shared_task(name="tests.heavy", is_heavy_task=True)
def heavy():
    logger.info("heavy ran")


@celery_app.task(base=TransactionalTask, name="tests.setting")
def setting(request, name):
    """Tell what the application was configured with."""
    logger.info("setting %s is %s", name, request.registry.settings.get(name))


@celery_app.task(name="tests.speak")
def speak():
    logger.debug("a debug message of the task")
    logger.warning("a warning of the task")
    logger.error("an error of the task")


@celery_app.task(name="tests.touch_after")
def touch_after(seconds, path):
    """Take a while, and leave a trace."""
    Path(f"{path}.started").touch()
    time.sleep(seconds)
    Path(path).touch()


def _add_database(config, settings):
    if "sqlalchemy.url" not in settings:
        return
    engine = create_engine(settings["sqlalchemy.url"])
    event.listen(engine, "connect", lambda *_: logger.warning("a database connection was opened"))
    if settings.get("create"):
        Base.metadata.create_all(engine)
    factory = sessionmaker(bind=engine)
    config.add_request_method(lambda request: _session(factory, request), "dbsession", reify=True)


def _session(factory, request):
    session = factory(info={"request": request})
    zope.sqlalchemy.register(session, transaction_manager=request.tm)
    return session


def pshell(names):
    """The ``setup`` of the section [pshell]."""
    names["answer"] = 42
    yield
    print("closed")
