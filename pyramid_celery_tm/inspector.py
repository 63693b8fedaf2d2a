"""What waits in the queues, and what the workers are at: plain data.

Reads only. The broker is asked for lengths; the workers are asked over it, so that what they would say is unknown where
none of them runs, or none has a moment to answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from celery import Celery
from kombu.connection import Connection
from kombu.transport import virtual

from . import unacked
from .app import celery_app

#: How long a connection is tried and an answer of the broker waited for, in seconds.
PATIENCE = 5


@dataclass(frozen=True, slots=True)
class QueueStatus:
    """One queue; ``None`` is a number that nobody could tell.

    :param name: its name.
    :param waiting: messages that no worker has taken yet.
    :param unacked: messages that workers have taken and not acknowledged, dead workers' too; known of Redis only.
    :param eta: tasks that workers hold until their time has come; ``None`` where no worker replied.
    :param active: tasks that run at this moment; ``None`` where no worker replied.
    """

    name: str
    waiting: int
    unacked: int | None
    eta: int | None
    active: int | None


def queue_length(name: str, app: Celery | None = None) -> int:
    """How many messages wait in a queue and no worker has taken yet.

    :param name: the name of the queue; one that does not exist is empty.
    :param app: the Celery app; the library's own where it is not given.
    :raises kombu.exceptions.OperationalError: the broker does not answer.
    """
    with connect(app or celery_app) as connection:
        return _length(connection, name)


def queues(app: Celery | None = None, timeout: float = 1.0) -> list[QueueStatus]:
    """The queues that are declared, and any others that workers have taken messages from, by name.

    :param app: the Celery app; the library's own where it is not given.
    :param timeout: seconds to wait for the workers' replies, twice.
    :raises kombu.exceptions.OperationalError: the broker does not answer.
    """
    app = app or celery_app
    with connect(app) as connection:
        inspect = app.control.inspect(timeout=timeout, connection=connection)
        eta, active = _count(app, inspect.scheduled()), _count(app, inspect.active())
        taken = _count_unacked(app, connection)
        names = {*app.amqp.queues, *(taken or ()), *(eta or ()), *(active or ())}
        return [
            QueueStatus(
                name=name,
                waiting=_length(connection, name),
                unacked=None if taken is None else taken[name],
                eta=None if eta is None else eta[name],
                active=None if active is None else active[name],
            )
            for name in sorted(names)
        ]


def task_ids_in_workers(app: Celery, connection: Connection, timeout: float = 1.0) -> set[str]:
    """The ids of all tasks that live workers hold: waiting for their time, for a free process, or running."""
    inspect = app.control.inspect(timeout=timeout, connection=connection)
    replies = (inspect.scheduled(), inspect.reserved(), inspect.active())
    return {task["id"] for reply in replies for task in _tasks(reply)}


@contextmanager
def connect(app: Celery) -> Iterator[Connection]:
    """A connection to the broker that fails instead of waiting for ever.

    :raises kombu.exceptions.OperationalError: the broker does not answer.
    """
    options = {"socket_timeout": PATIENCE, "socket_connect_timeout": PATIENCE, **app.conf.broker_transport_options}
    with app.connection_for_read(connect_timeout=PATIENCE, transport_options=options) as connection:
        yield connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0)


def _length(connection: Connection, name: str) -> int:
    channel: Any
    with connection.channel() as channel:
        if isinstance(channel, virtual.Channel):
            # All of its priorities. A passive declaration would miss a queue behind a global key prefix.
            return int(channel._size(name))  # noqa: SLF001 - kombu offers no other
        try:
            return int(channel.queue_declare(name, passive=True).message_count)
        except connection.channel_errors as error:
            if getattr(error, "code", None) != 404:
                raise
            return 0


def _count(app: Celery, reply: Mapping[str, Any] | None) -> Counter[str] | None:
    if not reply:
        return None
    return Counter(unacked.queue_of(app, task.get("delivery_info") or {}) for task in _tasks(reply))


def _count_unacked(app: Celery, connection: Connection) -> Counter[str] | None:
    channel: Any = connection.default_channel
    if not unacked.is_supported(channel):
        return None
    return Counter(message.queue for message in unacked.unacked_messages(app, channel))


def _tasks(reply: Mapping[str, Any] | None) -> Iterator[dict[str, Any]]:
    for tasks in (reply or {}).values():
        for task in tasks or ():
            yield task.get("request", task)  # scheduled tasks come wrapped
