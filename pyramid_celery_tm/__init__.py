"""Makes Celery obey Pyramid's transactions.

A task that is called in a request leaves when the request's transaction commits, and never otherwise; it runs with a
request and a transaction of its own.
"""

from __future__ import annotations

from pyramid.config import Configurator

from .app import celery_app, configure_celery
from .current import on_commit
from .inspector import queue_length
from .preload import on_preload_options
from .redis import get_redis
from .task import RequestAwareTask, TransactionalTask

__all__ = [
    "RequestAwareTask",
    "TransactionalTask",
    "celery_app",
    "get_redis",
    "includeme",
    "on_commit",
    "queue_length",
]


def includeme(config: Configurator) -> None:
    """Set up the task system for an application.

    - Adds the directive ``config.configure_celery(ini)``: Celery's configuration is read from the sections
      ``[celery]``, ``[celery:NAME]``, ``[celerybeat:NAME]`` and ``[celeryroute:TASK]`` of the INI file.
    - Adds nothing to requests and registers no tween: the tasks find the transaction of the current request in
      ``request.tm``, where pyramid_tm or the application puts it.

    Including it twice is harmless.
    """
    config.add_directive("configure_celery", configure_celery)
