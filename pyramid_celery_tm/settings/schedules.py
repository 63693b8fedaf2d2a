"""Reads ``[celerybeat:NAME]``: a task, and when beat is to start it.

The sections are pyramid_celery's::

    [celerybeat:backup]
    task = backup
    type = crontab
    schedule = {"hour": 3, "minute": 30}
    args = []
    kwargs = {"keep": 7}
    options = {"queue": "heavy"}
    missed = once

``missed`` is ours: what becomes of ticks whose time went by while no beat ran. What pyramid_celery hands on unseen, and
what then stops beat or starts tasks without end, is refused here.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterable, Mapping
from typing import Any

from celery.schedules import ParseException, crontab

from .faults import did_you_mean
from .section import Section
from .values import JSON, JSON_INTEGER, JSON_LIST, JSON_OBJECT, STRING, Type

OPTIONS = ("task", "type", "schedule", "args", "kwargs", "options", "missed")
UNITS = ("weeks", "days", "hours", "minutes", "seconds", "milliseconds", "microseconds")
FIELDS = {
    "minute": "0-59",
    "hour": '0-23; midnight is {"hour": 0, "minute": 0}',
    "day_of_week": "0-6, where Sunday is 0, or sun to sat",
    "day_of_month": "1-31",
    "month_of_year": "1-12, or jan to dec",
}
#: Beat adds the interval to a date, and dates end with the year 9999.
LONGEST = datetime.timedelta(days=36500)

#: What may become of ticks that were missed.
MISSED = ("skip", "once", "all")


def as_missed(text: str) -> str:
    """What becomes of ticks that were missed, in a word of the setting ``tasks.missed_ticks``."""
    if text not in MISSED:
        raise ValueError(f"is not known{did_you_mean(text, MISSED)}")
    return text


TASK = Type(STRING.read, "the name of a task")
POLICY = Type(as_missed, ", ".join(MISSED))
TYPES = Type(STRING.read, "crontab, timedelta, integer")
#: What a schedule of each type looks like.
CRONTAB = Type(JSON_OBJECT.read, f'a JSON object of {", ".join(FIELDS)}, such as {{"hour": 3, "minute": 30}}')
TIMEDELTA = Type(JSON_OBJECT.read, f'a JSON object of {", ".join(UNITS)}, such as {{"hours": 24}}')
INTEGER = Type(JSON_INTEGER.read, "seconds as an integer, more than 0 and at most 100 years, such as 30")


def read_entry(section: Section, warnings: list[str]) -> dict[str, Any]:
    """An entry of Celery's ``beat_schedule``; incomplete where the section has faults.

    :param section: the section ``celerybeat:NAME``, to which faults are added.
    :param warnings: the list to which a warning is added for a schedule that is valid and hardly meant.
    """
    section.fold(OPTIONS)
    entry = {"task": section.require("task", TASK), "schedule": _schedule(section, warnings)}
    kinds = {"args": JSON_LIST, "kwargs": JSON_OBJECT, "options": JSON_OBJECT, "missed": POLICY}
    return entry | section.read(kinds)


def _schedule(section: Section, warnings: list[str]) -> Any:
    name = section.require("type", TYPES)
    match name:
        case "crontab":
            return _crontab(section, warnings)
        case "timedelta":
            return _timedelta(section)
        case "integer":
            return _integer(section)
        case None:
            section.require("schedule", JSON)
        case _:
            near = did_you_mean(name, ("crontab", "timedelta", "integer"))
            section.refuse("type", f"schedule type {name} in section {section.name} is invalid{near}", TYPES.allowed)
            section.require("schedule", JSON)
    return None


def _crontab(section: Section, warnings: list[str]) -> crontab | None:
    value = _mapping(section, CRONTAB, FIELDS)
    # A list, so that each field is looked at: one fault must not hide the next.
    if value is None or False in [_field_is_valid(section, field, pattern) for field, pattern in value.items()]:
        return None
    if value and "minute" not in value:
        warnings.append(
            f"[{section.name}] schedule = {section.options['schedule']}: is due every minute of that time, because it "
            f'names no minute; for once, add "minute": 0'
        )
    try:
        return crontab(**value)
    except ValueError as error:  # the 30th of February: each field is valid and the date never comes
        section.refuse("schedule", f"is never due ({error})", CRONTAB.allowed)
        return None


def _field_is_valid(section: Section, field: str, pattern: Any) -> bool:
    try:
        _check_field(field, pattern)
    except (ValueError, ParseException) as error:
        problem = f"{json.dumps(pattern)} is no {field} ({str(error).rstrip('.')})"
        section.refuse("schedule", problem, f'for {field} {FIELDS[field]}; a pattern such as "*/2", or a list')
        return False
    return True


def _check_field(field: str, pattern: Any) -> None:
    # Celery looks for the next day of an empty list for ever, and compares whatever else a list holds with numbers.
    numbers = pattern if isinstance(pattern, list) and pattern else [pattern]
    if not isinstance(pattern, str) and not all(type(number) is int for number in numbers):
        raise ValueError("neither a number, nor a pattern, nor a list of numbers")
    crontab(**{field: pattern})


def _timedelta(section: Section) -> datetime.timedelta | None:
    value = _mapping(section, TIMEDELTA, UNITS)
    if value is None:
        return None
    wrong = [unit for unit, number in value.items() if type(number) not in (int, float)]
    for unit in wrong:
        section.refuse("schedule", f"{unit} is {json.dumps(value[unit])}, which is not a number", TIMEDELTA.allowed)
    return None if wrong else _interval(section, TIMEDELTA, value)


def _integer(section: Section) -> int | None:
    seconds: int | None = section.require("schedule", INTEGER)
    if seconds is None or _interval(section, INTEGER, {"seconds": seconds}) is None:
        return None
    return seconds


def _interval(section: Section, kind: Type, value: Mapping[str, float]) -> datetime.timedelta | None:
    try:
        interval = datetime.timedelta(**value)
    except OverflowError:
        interval = datetime.timedelta.max
    if datetime.timedelta(0) < interval <= LONGEST:
        return interval
    problem = "is longer than 100 years" if interval > LONGEST else "is not an interval greater than 0"
    section.refuse("schedule", problem, kind.allowed)
    return None


def _mapping(section: Section, kind: Type, known: Iterable[str]) -> dict[str, Any] | None:
    """The schedule as a JSON object whose names are all known, or ``None`` after a fault."""
    value: dict[str, Any] | None = section.require("schedule", kind)
    unknown = [name for name in value or () if name not in known]
    for name in unknown:
        section.refuse("schedule", f"has an unknown name {name!r}{did_you_mean(name, known)}", kind.allowed)
    return None if unknown else value
