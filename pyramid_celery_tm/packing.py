"""Messages and results as text, which a row of the ledger holds: whoever reads it can send them without the task."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from celery import Celery
from celery.app.amqp import task_message
from kombu import serialization
from kombu.utils import json

from .freeze import Payload
from .publish import Message


def pack(message: Message, *, claimed: bool) -> str:
    """A message as text, from which any process can send it that is connected to the same broker.

    :param claimed: whether a worker will claim it.
    """
    data, content = message.payload.data, message.content
    binary = isinstance(data, bytes)
    body = base64.b64encode(data).decode() if binary else data
    packed = {
        "headers": content.headers,
        "properties": content.properties,
        "body": [message.payload.content_type, message.payload.encoding, body, binary],
        "event": content.sent_event,
        "options": portable(message.options),
        "claimed": claimed,
    }
    return str(json.dumps(packed))


def unpack(app: Celery, name: str, text: str) -> tuple[Message, bool]:
    """What :func:`pack` was given, without what only the caller had use for."""
    packed = json.loads(text)
    content_type, encoding, data, binary = packed["body"]
    payload = Payload(content_type, encoding, base64.b64decode(data) if binary else data)
    content = task_message(packed["headers"], packed["properties"], payload.load(), packed["event"])
    # A queue's own limit counts from now, and would throw away what is late. Workers look at the header.
    options = {option: value for option, value in packed["options"].items() if option != "expiration"}
    message = Message(app, name, content, options, None, None, None, add_to_parent=False, payload=payload)
    return message, packed["claimed"]


def portable(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a message without what lives in this process only; queues and exchanges by their names."""
    portable: dict[str, Any] = {}
    for name, value in options.items():
        if name in ("declare", "retry", "retry_policy") or value is None:
            continue
        if name == "exchange" and hasattr(value, "type"):
            portable["exchange_type"] = value.type
        plain = getattr(value, "name", value)
        with suppress(TypeError, ValueError):
            json.dumps(plain)
            portable[name] = plain
    return portable


def dumps(value: Any) -> str:
    """A result as text."""
    _, _, data = serialization.dumps(value, "json")
    return data.decode() if isinstance(data, bytes) else data


def loads(text: str | None) -> Any:
    """A result from text; ``None`` where there is no text, as for a task that returned nothing."""
    if text is None:
        return None
    return serialization.loads(text, "application/json", "utf-8", accept={"application/json"})
