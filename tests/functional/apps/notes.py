"""The small application of the tests behind an INI file, and the tasks that a worker's pools are tried with."""

import os
import threading

from pyramid.threadlocal import get_current_request, manager
from sqlalchemy import text
from sqlalchemy.pool import QueuePool

from pyramid_celery_tm import RequestAwareTask, TransactionalTask, celery_app
from tests.application import Note, add, make_config


def main(global_config, **settings):
    # The pool of an application, with a connection in it that was opened while the application was loaded.
    config = make_config(settings.pop("sqlalchemy.url"), pool=QueuePool, **settings)
    config.configure_celery(global_config)
    return config.make_wsgi_app()


@celery_app.task(base=TransactionalTask, name="surroundings")
def surroundings(request, number):
    """What a task finds: its process and thread, how many requests are open, its database session's process."""
    request.dbsession.add(Note(text=f"surroundings {number}"))
    return {
        "number": number,
        "process": os.getpid(),
        "thread": threading.get_ident(),
        "open": len(manager.stack),
        "current": get_current_request() is request,
        "database": request.dbsession.scalar(text("select pg_backend_pid()")),
    }


@celery_app.task(base=RequestAwareTask, name="leaves_open")
def leaves_open(request):
    request.tm.begin()
    request.dbsession.add(Note(text="left open"))
    request.dbsession.flush()
    add.delay("never")


@celery_app.task(base=TransactionalTask, name="committed")
def committed(request, x):
    """Writes what it is given, as a callback of another task does."""
    request.dbsession.add(Note(text=f"committed {x}"))
    return x


@celery_app.task(base=TransactionalTask, name="meets")
def meets(request, number, others):
    """Eight of these conflict with each other under SERIALIZABLE."""
    request.dbsession.execute(text("set transaction isolation level serializable"))
    total = request.dbsession.scalar(text("select count(*) from note"))
    request.dbsession.add(Note(text=f"meets {number} {total}"))
    return total


@celery_app.task(base=TransactionalTask, name="fails")
def fails(request):
    request.dbsession.add(Note(text="fails"))
    request.dbsession.flush()
    raise ValueError("on purpose")
