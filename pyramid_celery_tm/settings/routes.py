"""Reads ``[celeryroute:TASK]``: the queue of a task, or of all that a pattern names (``myapp.reports.*``)."""

from __future__ import annotations

from typing import Any

from .section import Section
from .values import DELIVERY_MODE, PRIORITY, STRING, Type

OPTIONS = {
    "queue": Type(STRING.read, "the name of a queue"),
    "exchange": STRING,
    "exchange_type": STRING,
    "routing_key": STRING,
    "priority": PRIORITY,
    "delivery_mode": DELIVERY_MODE,
    "serializer": STRING,
    "compression": STRING,
}


def read_route(section: Section) -> dict[str, Any]:
    """A value of Celery's ``task_routes``; incomplete where the section has faults.

    :param section: the section ``celeryroute:TASK``, to which faults are added.
    """
    section.fold(OPTIONS)
    if "queue" not in section.options:
        section.require("queue", OPTIONS["queue"])
    return {option: section.require(option, OPTIONS[option]) for option in section.options}
