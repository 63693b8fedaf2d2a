"""Puts what a task is called with through its serializer and back, at the call.

What comes out is checked and shares no object with the caller, who may go on and change his own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kombu import serialization
from kombu.exceptions import EncodeError

from .exceptions import NotSerializable


@dataclass(frozen=True)
class Payload:
    """What a task is called with, as a message carries it.

    :ivar content_type: as kombu names the serializer's format.
    :ivar encoding: of the text, or ``binary``.
    :ivar data: text or bytes.
    """

    content_type: str
    encoding: str
    data: Any

    def load(self) -> Any:
        """A copy of the value as the worker will see it."""
        return serialization.loads(self.data, self.content_type, self.encoding, accept={self.content_type})


def dump(task_name: str, value: Any, serializer: str) -> Payload:
    """Put a value through a serializer.

    :param task_name: for the message of the error.
    :param value: arguments, or the whole body of a message.
    :param serializer: name of a serializer of kombu's, ``json`` for example.
    :raises pyramid_celery_tm.exceptions.NotSerializable: the value cannot travel in a message.
    """
    try:
        return Payload(*serialization.dumps(value, serializer))
    except EncodeError as error:
        raise NotSerializable(
            f"task {task_name} was called with an argument that {serializer} cannot carry: {error}. "
            "Pass ids and plain values"
        ) from error


def freeze(task_name: str, value: Any, serializer: str) -> Any:
    """A copy of a value as the worker will see it; parameters and errors as for :func:`dump`."""
    return dump(task_name, value, serializer).load()
