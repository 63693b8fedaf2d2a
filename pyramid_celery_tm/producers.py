"""Connections to the broker whose every operation is bounded in time, apart from Celery's own.

Celery's may wait for ever, which a worker can afford and a web request cannot.
"""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

from celery import Celery
from kombu import Connection, pools

#: How long a commit is held up by a broken broker and a broken result backend together, in seconds, whatever the number
#: of its tasks. A publish to a broker that hangs times out three times (on a pooled connection, in the handshake of a
#: new one, in the second try); before it others may have failed for one such time, and a chord may have waited for one.
SECONDS_PER_COMMIT = 5.0
SECONDS_PER_OPERATION = SECONDS_PER_COMMIT / 5

_connections: WeakKeyDictionary[Celery, Connection] = WeakKeyDictionary()


def producers(app: Celery) -> Any:
    """A pool of producers whose every operation is bounded in time, apart from the app's own."""
    if app not in _connections:
        _connections[app] = _bounded_connection(app)
    return pools.producers[_connections[app]]


def forget_connection(app: Celery) -> None:
    """Connect anew: the app was given another broker."""
    _connections.pop(app, None)


def _bounded_connection(app: Celery) -> Connection:
    seconds = SECONDS_PER_OPERATION
    connection = app.connection_for_write(connect_timeout=seconds)
    names = {
        "redis": ("socket_timeout", "socket_connect_timeout"),
        "amqp": ("read_timeout", "write_timeout"),
    }.get(connection.transport.driver_type, ())
    bounds = {name: min(seconds, connection.transport_options.get(name) or seconds) for name in names}
    options = {**connection.transport_options, **bounds, "max_retries": 1, "interval_start": 0, "interval_max": 0.1}
    bounded: Connection = app.connection_for_write(connect_timeout=seconds, transport_options=options)
    return bounded
