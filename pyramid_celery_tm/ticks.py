"""When the entries of a schedule are due, and which of their ticks run: no clock is read here, and nothing is kept.

Where :mod:`celery.schedules` says how long it is from now until an entry is due, this module says at what time it was
or will be: a tick that happens once needs a time that every beat agrees on.

A crontab obeys Debian's cron when the clocks change. A task at fixed times runs once, right after the change if its
time is skipped, and in the first of two hours if its hour is repeated. A task with a star in its minutes or hours goes
by the time that passes. As in Celery, and other than in cron, ``day_of_month`` and ``day_of_week`` must both fit.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import islice, takewhile
from typing import Any

from celery.schedules import BaseSchedule, crontab, schedule
from cronsim import CronSim

#: A tick is on time that is seen less than so much later.
GRACE = timedelta(seconds=60)
#: How many ticks run at a time.
BATCH = 100

_SECOND = timedelta(seconds=1)
#: How far back a last tick is looked for.
_WINDOWS = (timedelta(hours=1), timedelta(days=1), timedelta(days=32), timedelta(days=366))


@dataclass(frozen=True)
class Timetable:
    """A schedule of Celery's, and where its clock hangs.

    :param schedule: an interval, a crontab, or any other schedule of Celery's (``solar``, an application's own).
    :param zone: the time zone of the crontab.
    """

    schedule: BaseSchedule
    zone: tzinfo

    def after(self, moment: datetime) -> datetime:
        """The first tick after a moment; for an interval, the moment is the tick before.

        :param moment: an aware time.
        :returns: a time in UTC, later than the moment.
        """
        if type(self.schedule) is crontab:
            return _next_of_crontab(self.schedule, moment, self.zone)
        interval = self.interval
        if interval is not None:
            return moment.astimezone(UTC) + interval
        return _next_of_any(self.schedule, moment)

    def walk(self, tick: datetime) -> Iterator[datetime]:
        """A tick, and all that follow."""
        while True:
            yield tick
            tick = self.after(tick)

    def latest(self, first: datetime, until: datetime) -> datetime:
        """The last tick up to a moment.

        :param first: a tick, at the moment or before it.
        """
        if self.interval is not None:
            return first + (until - first) // self.interval * self.interval
        # From behind: after a long pause there may be a million of them.
        for window in _WINDOWS:
            begin = max(first, until - window)
            last = _last(takewhile(lambda tick: tick <= until, self.walk(self.after(begin))))
            if last is not None:
                return last
        return _last(takewhile(lambda tick: tick <= until, self.walk(first))) or first

    @property
    def interval(self) -> timedelta | None:
        """The time between two ticks, where that is all there is to know."""
        # One that is "relative" is rounded by the clock on the wall.
        if type(self.schedule) is not schedule or self.schedule.relative:
            return None
        # Nothing comes after an interval of nothing.
        return self.schedule.run_every if self.schedule.run_every > timedelta(0) else _SECOND

    def describe(self) -> str:
        """A text that is the same for the same timetable, in every process."""
        if self.interval is not None:
            return f"every {self.interval.total_seconds()} s"
        text = repr(self.schedule)
        if type(self.schedule) is schedule:
            text = f"every {self.schedule.run_every.total_seconds()} s by the clock"
        return f"{re.sub(' at 0x[0-9a-f]+', '', text)} {self.zone}"


@dataclass(frozen=True)
class Plan:
    """What is to be done about an entry that is due.

    :ivar due: the ticks that run now, the oldest first.
    :ivar following: the tick that comes next; it is due as well if there were too many for once.
    """

    due: list[datetime]
    following: datetime


def plan(timetable: Timetable, first: datetime, now: datetime, policy: str, batch: int = BATCH) -> Plan:
    """Which ticks of an entry run.

    :param first: the tick that comes next; it is due.
    :param now: what time it is.
    :param policy: what becomes of those that are later than :data:`GRACE`: ``skip`` drops them; ``once`` makes up for
        all of them with one run, that of the last, where no other tick runs now; ``all`` runs each of them.
    :param batch: how many run at most.
    """
    start = first if policy == "all" else _first_to_run(timetable, first, now, policy)
    due = list(islice(takewhile(lambda tick: tick <= now, timetable.walk(start)), batch))
    return Plan(due, timetable.after(due[-1]) if due else start)


def _first_to_run(timetable: Timetable, first: datetime, now: datetime, policy: str) -> datetime:
    too_late = now - GRACE
    if first > too_late:
        return first
    missed = timetable.latest(first, too_late)
    following = timetable.after(missed)
    return missed if policy == "once" and following > now else following


def _next_of_crontab(entry: Any, moment: datetime, zone: tzinfo) -> datetime:
    ticks = (tick.astimezone(UTC) for tick in CronSim(_line(entry), moment.astimezone(zone)))
    # In an hour that is repeated, cronsim's next one may be in the first while the moment is in the second.
    return next(tick for tick in ticks if tick > moment and _fits(entry, tick.astimezone(zone)))


def _line(entry: Any) -> str:
    """A line for cronsim that has every tick of a crontab, and more."""
    minutes, hours, months = entry.minute, _numbers(entry.hour), _numbers(entry.month_of_year)
    if _goes_by_time(entry):
        # By the hands of the wall clock cronsim goes from hour to hour, and to a minute that is the only one; where
        # clocks change by half an hour, it would pass what lies between.
        minutes, hours = minutes | {(min(minutes) + 30) % 60}, "*"
    # Given both, days of the month and of the week, cron takes what fits either.
    if len(entry.day_of_month) == 31:
        return f"{_numbers(minutes)} {hours} * {months} {_numbers(entry.day_of_week)}"
    return f"{_numbers(minutes)} {hours} {_numbers(entry.day_of_month)} {months} *"


def _fits(entry: Any, local: datetime) -> bool:
    if local.isoweekday() % 7 not in entry.day_of_week:
        return False
    return not _goes_by_time(entry) or (local.minute in entry.minute and local.hour in entry.hour)


def _goes_by_time(entry: Any) -> bool:
    # The sets of numbers do not tell how they were written.
    patterns = (entry._orig_minute, entry._orig_hour)  # noqa: SLF001
    return any(isinstance(pattern, str) and pattern.startswith("*") for pattern in patterns)


def _numbers(values: Iterable[int]) -> str:
    return ",".join(map(str, sorted(values)))


def _next_of_any(entry: Any, moment: datetime) -> datetime:
    tick = _ask(entry, moment)
    # The same one again: a sunrise is known to the second, and computed to the microsecond.
    if tick < moment + _SECOND:
        tick = _ask(entry, moment + _SECOND)
    return max(tick, moment + _SECOND).astimezone(UTC)


def _ask(entry: Any, moment: datetime) -> datetime:
    # A schedule answers how long it is from now, and so it is told what time it is.
    asked = copy.copy(entry)
    asked.nowfun = lambda: moment
    remaining: timedelta = asked.remaining_estimate(moment)
    return moment + remaining


def _last(ticks: Iterable[datetime]) -> datetime | None:
    last = None
    for tick in ticks:
        last = tick
    return last
