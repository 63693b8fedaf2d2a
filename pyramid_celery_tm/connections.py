"""Database connections and forked processes.

A child of a prefork worker inherits the parent's connection pools. Two processes that speak on one socket corrupt each
other's conversation, so a child never uses a connection that it did not open itself: SQLAlchemy's own recipe ("Using
Connection Pools with Multiprocessing"), applied to every pool, because engines are the application's and unknown here.
"""

from __future__ import annotations

import os
from typing import Any

from sqlalchemy import event, exc
from sqlalchemy.pool import Pool

_PID = "pyramid_celery_tm.pid"


def discard_inherited(**_: Any) -> None:
    """From now on, open a new connection wherever a pool offers one of the parent's; for a child, right after the fork.

    The inherited one is not closed: that would say goodbye on the socket that the parent goes on using.
    """
    if not event.contains(Pool, "checkout", _check_out):
        event.listen(Pool, "connect", _connect)
        event.listen(Pool, "checkout", _check_out)


def _connect(connection: Any, record: Any) -> None:
    record.info[_PID] = os.getpid()


def _check_out(connection: Any, record: Any, proxy: Any) -> None:
    if record.info.get(_PID) != os.getpid():
        record.dbapi_connection = proxy.dbapi_connection = None
        raise exc.DisconnectionError("the connection was opened by another process")
