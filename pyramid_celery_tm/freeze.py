"""Puts what a task is called with through its serializer and back, at the call.

What comes out is checked and shares no object with the caller, who may go on and change his own.
"""

from __future__ import annotations

from typing import Any

from kombu import serialization
from kombu.exceptions import EncodeError

from .exceptions import NotSerializable


def freeze(task_name: str, value: Any, serializer: str) -> Any:
    """A copy of a value as the worker will see it.

    :param task_name: for the message of the error.
    :param value: arguments, or the whole body of a message.
    :param serializer: name of a serializer of kombu's, ``json`` for example.
    :raises pyramid_celery_tm.exceptions.NotSerializable: the value cannot travel in a message.
    """
    try:
        content_type, encoding, payload = serialization.dumps(value, serializer)
    except EncodeError as error:
        raise NotSerializable(
            f"task {task_name} was called with an argument that {serializer} cannot carry: {error}. "
            "Pass ids and plain values"
        ) from error
    return serialization.loads(payload, content_type, encoding, accept={content_type})
