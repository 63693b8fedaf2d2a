"""Builds the message of a task when it is called, and sends it when its transaction has committed.

Between the two lies the commit, after which nothing may fail any more in the eyes of the caller: the message is
complete and was put through its serializer at the call, and sending is bounded in time, logs what it could not send and
raises nothing.

How a message is built is Celery's business (``Celery.send_task``: routing, headers, expiry, native delayed delivery).
So Celery's own method is run, with a stand-in for the app in which the last step, publishing, notes down its arguments.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from celery import Celery
from celery.backends.base import BaseKeyValueStoreBackend
from celery.utils.time import maybe_make_aware
from kombu import Producer

from .deferral import Release
from .freeze import Payload, dump, freeze
from .producers import SECONDS_PER_COMMIT, SECONDS_PER_OPERATION, producers
from .results import DeferredResult
from .signatures import give_ids, without_live_objects

__all__ = ["SECONDS_PER_COMMIT", "SECONDS_PER_OPERATION", "Message", "build", "send", "send_each", "warn_of_redelivery"]

logger = logging.getLogger(__name__)

#: A publish that takes longer has waited, though it went well in the end. A healthy broker takes a thousandth.
_SECONDS_PER_MESSAGE = 0.1


@dataclass
class Message:
    """A finished message that waits for its commit.

    :ivar app: the Celery app that sends it.
    :ivar name: name of the task.
    :ivar content: what ``Celery.amqp.send_task_message`` takes: headers, properties, body, event.
    :ivar options: how to publish it: queue, exchange, routing key, serializer and the like.
    :ivar countdown: seconds from the commit until the task is due, or ``None``.
    :ivar expires: seconds from the commit until the task is void, or ``None``.
    :ivar result: what the caller was given; ``None`` for a message that another process was asked for.
    :ivar payload: the body in ``content``, as it travels.
    """

    app: Celery
    name: str
    content: Any
    options: dict[str, Any]
    countdown: float | None
    expires: float | None
    result: Any
    add_to_parent: bool
    payload: Payload

    def start_clocks(self) -> None:
        """Count ``countdown`` and ``expires`` from now, the commit, and not from the call."""
        headers, event = self.content.headers, self.content.sent_event
        for name, seconds in (("eta", self.countdown), ("expires", self.expires)):
            if seconds and headers.get(name):
                headers[name] = (self.app.now() + timedelta(seconds=seconds)).isoformat()
                if event:
                    event[name] = headers[name]

    def describe(self) -> str:
        """The call, for the log."""
        headers = self.content.headers
        return f"{self.name}[{headers['id']}] args={headers['argsrepr']} kwargs={headers['kwargsrepr']}"


def build(
    app: Celery,
    name: str,
    args: Any,
    kwargs: Any,
    *,
    identify: bool = False,
    hold_longer_than: float | None = None,
    **options: Any,
) -> Message:
    """The message that ``app.send_task`` with these arguments would publish now.

    :param identify: whether to give the callbacks their ids now: whoever calls them again, calls the same ones.
    :param hold_longer_than: seconds; a call with a longer delay will be kept and sent when it is nearly due, and so its
        message must not ask the broker for the delay, as one to a quorum queue of RabbitMQ does.
    :param options: those of :meth:`celery.Celery.send_task`.
    :raises pyramid_celery_tm.exceptions.NotSerializable: an argument cannot travel in a message.
    """
    recorder = _Recorder(app)
    delay = (options.get("countdown"), options.get("eta"))
    eta = None
    if hold_longer_than is not None and (seconds := _delay(app, *delay)) > hold_longer_than:
        options.update(countdown=None, eta=None)
        eta = (app.now() + timedelta(seconds=seconds)).isoformat()
    add_to_parent = options.pop("add_to_parent", True)
    # Unbound: the stand-in is not a Celery app, it only answers like one.
    result = type(app).send_task(
        recorder, name, args, kwargs, add_to_parent=False, result_cls=partial(DeferredResult, app=app), **options
    )
    content, publish_options = recorder.recorded
    if eta is not None:
        content.headers["eta"] = eta
    if publish_options.get("headers"):
        publish_options["headers"] = freeze(name, publish_options["headers"], "json")
    payload = dump(
        name, _body(content, identify=identify), publish_options.get("serializer") or app.conf.task_serializer
    )
    return Message(
        app,
        name,
        content._replace(body=payload.load()),
        publish_options,
        delay[0],
        options["expires"] if isinstance(options.get("expires"), int | float) else None,
        result,
        add_to_parent,
        payload,
    )


def send(messages: Sequence[Message], release: Release) -> None:
    """Send messages whose transaction has committed; what cannot be sent is logged as an error, nothing is raised.

    :param messages: in the order in which they were called.
    :param release: not used.
    """
    send_each(messages, _not_sent)


def send_each(messages: Sequence[Message], on_failure: Callable[[Message, Exception], None]) -> list[Message]:
    """Send messages, in a bounded time and without raising anything.

    :param on_failure: is told of each message that was not sent, or perhaps not, and why.
    :returns: those that the broker has.
    """
    sent: list[Message] = []
    waited = 0.0
    problem: Exception | None = None
    for message in messages:
        if waited >= SECONDS_PER_OPERATION:
            on_failure(message, problem or TimeoutError("the broker is too slow"))
            continue
        started = time.monotonic()
        try:
            _publish(message)
        except Exception as error:  # noqa: BLE001 - whatever it is, the data is saved and the others go on
            problem = error
            waited += time.monotonic() - started
            on_failure(message, error)
        else:
            waited += max(time.monotonic() - started - _SECONDS_PER_MESSAGE, 0)
            sent.append(message)
            _add_to_parent(message)
    return sent


def _publish(message: Message) -> None:
    message.start_clocks()
    app = message.app
    with (
        producers(app).acquire(block=True, timeout=SECONDS_PER_OPERATION) as producer,
        producer.connection._reraise_as_library_errors(),  # noqa: SLF001 - as Celery.send_task does
    ):
        # A result store of keys and values (Redis) only wants to subscribe early here, and does so again when it is
        # asked for the result; on a store that is down that would take 20 seconds. Others (RPC) declare a queue.
        result = message.result
        if result is not None and not isinstance(app.backend, BaseKeyValueStoreBackend) and not result.ignored:
            app.backend.on_task_call(producer, result.id)
        app.amqp.send_task_message(producer, message.name, message.content, **_publish_options(producer, message))


def _publish_options(producer: Producer, message: Message) -> dict[str, Any]:
    options = dict(message.options, retry_policy={"max_retries": 1, "interval_start": 0, "interval_max": 0.1})
    if producer.connection.transport.driver_type == "amqp":
        options.setdefault("confirm_timeout", SECONDS_PER_OPERATION)
    return options


def _add_to_parent(message: Message) -> None:
    parent = message.app.current_worker_task
    if parent and message.add_to_parent and message.result is not None:
        parent.add_trail(message.result)


def _not_sent(message: Message, error: Exception) -> None:
    logger.error("task %s was not sent after the commit: %s: %s", message.describe(), type(error).__name__, error)


def _body(content: Any, *, identify: bool) -> Any:
    args, kwargs, embed = content.body
    embed = {key: without_live_objects(value) for key, value in embed.items()}
    for callback in (*(embed["callbacks"] or ()), *(embed["errbacks"] or ())) if identify else ():
        give_ids(callback)
    return args, kwargs, embed


def warn_of_redelivery(app: Celery, name: str, countdown: float | None, eta: datetime | None) -> None:
    """Warn of a delay that the broker takes for a lost worker.

    Redis delivers a message again that was not acknowledged within its visibility timeout (kombu's default: an hour),
    and a worker that holds a task until its time has come has not acknowledged it.
    """
    seconds = _delay(app, countdown, eta)
    if not seconds:
        return
    limit = app.conf.broker_transport_options.get("visibility_timeout", 3600)
    if seconds > limit and app.producer_pool.connections.connection.transport.driver_type == "redis":
        logger.warning(
            "task %s was called with a delay of %d s, and after %d s Redis delivers it again: set visibility_timeout"
            " in [celery:broker_transport_options] above the longest delay",
            name,
            seconds,
            limit,
        )


def _delay(app: Celery, countdown: float | None, eta: datetime | str | None) -> float:
    """How many seconds from now a call is due; 0 for now."""
    if countdown or not eta:
        return countdown or 0
    moment = datetime.fromisoformat(eta) if isinstance(eta, str) else eta
    return float((maybe_make_aware(moment) - app.now()).total_seconds())


class _Recorder:
    """Stands in for a Celery app in ``Celery.send_task`` and keeps what would have been published."""

    def __init__(self, app: Celery) -> None:
        self._app = app
        self.amqp = _RecordingAMQP(app.amqp, self)
        self.backend = _NoBackend()
        self.recorded: tuple[Any, dict[str, Any]]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._app, name)

    @contextmanager
    def producer_or_acquire(self, producer: object = None) -> Iterator[_NoProducer]:
        yield _NoProducer()


class _RecordingAMQP:
    def __init__(self, amqp: Any, recorder: _Recorder) -> None:
        self._amqp = amqp
        self._recorder = recorder

    def __getattr__(self, name: str) -> Any:
        return getattr(self._amqp, name)

    def send_task_message(self, producer: object, name: str, message: Any, **options: Any) -> None:
        self._recorder.recorded = message, options


class _NoBackend:
    def on_task_call(self, producer: object, task_id: str) -> None: ...


class _NoProducer:
    @property
    def connection(self) -> _NoProducer:
        return self

    def _reraise_as_library_errors(self) -> nullcontext[None]:
        return nullcontext()
