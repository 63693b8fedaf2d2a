"""Messages that a worker has taken from Redis and not acknowledged.

Redis knows no acknowledgements, so kombu keeps what a worker has taken in a hash (``unacked``) until the worker is
done, and puts it back after the visibility timeout if it never is. A killed worker leaves its messages there, where no
purge of the queues finds them. RabbitMQ keeps count of its own, and puts them back at once.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from celery import Celery
from kombu.transport.redis import Channel as RedisChannel
from redis import Redis


@dataclass(frozen=True, slots=True)
class Unacked:
    """A message that was delivered and not acknowledged.

    :param tag: the delivery's tag, under which Redis keeps it.
    :param queue: the name of the queue that it was taken from.
    :param task_id: the id of the task, where it is one.
    """

    tag: str
    queue: str
    task_id: str | None


def is_supported(channel: Any) -> bool:
    """Whether the un-acked messages behind this channel can be listed: it is one of Redis."""
    return isinstance(channel, RedisChannel)


def unacked_messages(app: Celery, channel: RedisChannel) -> Iterator[Unacked]:
    """All messages that are delivered and not acknowledged, to live workers and dead ones."""
    for tag, entry in _redis(channel).hscan_iter(channel.global_keyprefix + channel.unacked_key):
        message, exchange, routing_key = json.loads(entry)
        yield Unacked(
            tag=tag.decode(),
            queue=queue_of(app, {"exchange": exchange, "routing_key": routing_key}),
            task_id=message.get("headers", {}).get("id"),
        )


def drop(channel: RedisChannel, messages: Collection[Unacked]) -> int:
    """Forget messages for good.

    :returns: how many of them were still there.
    """
    tags = [message.tag for message in messages]
    if not tags:
        return 0
    with _redis(channel).pipeline() as pipe:
        pipe.hdel(channel.global_keyprefix + channel.unacked_key, *tags)
        pipe.zrem(channel.global_keyprefix + channel.unacked_index_key, *tags)
        dropped: int = pipe.execute()[0]
    return dropped


def queue_of(app: Celery, delivery_info: Mapping[str, Any]) -> str:
    """The name of the queue of a message.

    :param delivery_info: its ``exchange`` and ``routing_key``. Celery sends to queues by name, through the exchange
        without a name; others publish to an exchange that a declared queue is bound to.
    """
    exchange, routing_key = delivery_info.get("exchange") or "", delivery_info.get("routing_key") or ""
    if exchange:
        for name, queue in app.amqp.queues.items():
            if (queue.exchange.name, queue.routing_key) == (exchange, routing_key):
                return str(name)
    return str(routing_key)


def _redis(channel: RedisChannel) -> Redis:
    # kombu's own client puts its prefix before the keys of some commands and not of others (HSCAN among these).
    return Redis(connection_pool=channel.client.connection_pool)
