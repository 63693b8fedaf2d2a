"""Makes Celery obey Pyramid's transactions.

A task that is called in a request leaves when the request's transaction commits, and never otherwise; it runs with a
request and a transaction of its own.

The names are loaded when they are first used. ``ws-celery worker -P gevent`` has to put gevent's sockets and threads in
the place of Python's before anything imports those, this package's parts included; and a command that only prints its
help should not load SQLAlchemy.
"""

from __future__ import annotations

import warnings
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyramid.config import Configurator

    from .current import on_commit
    from .inspector import queue_length
    from .ledger import LedgerMixin
    from .preload import celery_app
    from .redis import get_redis
    from .task import RequestAwareTask, TransactionalTask

# Pyramid 2.1 imports pkg_resources, which says so at each start of each command, to people who cannot change it.
warnings.filterwarnings("ignore", "pkg_resources is deprecated as an API", UserWarning)

__all__ = [
    "LedgerMixin",
    "RequestAwareTask",
    "TransactionalTask",
    "celery_app",
    "get_redis",
    "includeme",
    "on_commit",
    "queue_length",
]

_MODULES = {
    "LedgerMixin": ".ledger",
    "RequestAwareTask": ".task",
    "TransactionalTask": ".task",
    "celery_app": ".preload",
    "get_redis": ".redis",
    "on_commit": ".current",
    "queue_length": ".inspector",
}


def includeme(config: Configurator) -> None:
    """Set up the task system for an application.

    - Adds the directive ``config.configure_celery(ini)``: Celery's configuration is read from the sections
      ``[celery]``, ``[celery:NAME]``, ``[celerybeat:NAME]`` and ``[celeryroute:TASK]`` of the INI file.
    - Adds the directive ``config.configure_ledger(model, engine)``: calls are kept in a table of the application's, so
      that none that was committed is lost, and no effect of a ``TransactionalTask`` happens twice.
    - Registers no tween: the tasks find the transaction of the current request in ``request.tm``, where pyramid_tm or
      the application puts it. A subscriber notes when a request has its response.

    Including it twice is harmless.
    """
    config.add_directive("configure_celery", ".app.configure_celery")
    config.add_directive("configure_ledger", ".app.configure_ledger")
    config.add_subscriber(".request.note_answer", "pyramid.events.NewRequest")


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name], __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
