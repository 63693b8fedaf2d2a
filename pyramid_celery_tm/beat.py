"""Beat whose ticks are rows of the ledger: any number of beats run, and each tick happens once.

Where Celery's scheduler remembers in a file when it sent what, an entry's next tick stands in the ledger here. The beat
that moves it on calls the task in the same transaction, and the task's id is made of the entry's name and the time of
the tick. So a tick has been taken if, and only if, its call is in the ledger; a beat that dies leaves it to the others.

Not for an application without a ledger: there Celery's own scheduler is the default, and one beat has to do.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from celery import beat, signals
from sqlalchemy.exc import SQLAlchemyError
from transaction import TransactionManager

from . import publish, record, sessions, ticks
from .connections import discard_inherited
from .current import Place, within
from .deferral import calls_of
from .deferred_task import DeferredTask
from .exceptions import NotConfigured
from .ledger import MISSED, Ledger, schedule, utcnow
from .ledger.schedule import Line
from .ticks import Timetable

logger = logging.getLogger(__name__)

#: How long a tick is left to the beat that has locked it, before it is looked at again.
AGAIN = timedelta(seconds=0.5)
#: How long an entry is left alone whose schedule raises an error.
REST = timedelta(seconds=60)
#: How long a database is left alone that does not answer, in seconds.
PAUSE = 5.0


class LedgerEntry(beat.ScheduleEntry):
    """An entry of the schedule, as Celery's.

    :param missed: what becomes of ticks that no beat saw in time: ``skip``, ``once`` or ``all``; ``None`` for what the
        setting ``tasks.missed_ticks`` says.
    :raises ValueError: it is none of these.
    """

    def __init__(self, *args: Any, missed: str | None = None, **options: Any) -> None:
        super().__init__(*args, **options)
        if missed not in (None, *MISSED):
            raise ValueError(f"the schedule entry {self.name} has missed = {missed!r}; allowed: {', '.join(MISSED)}")
        self.missed = missed


class LedgerScheduler(beat.Scheduler):
    """The scheduler of ``ws-celery beat`` where the application has a ledger.

    It keeps no file: ``--schedule`` is accepted and not used.

    :param app: the Celery app.
    :raises NotConfigured: the application has no ledger.
    """

    Entry = LedgerEntry

    #: The longest time between two looks at the ledger, in seconds: another beat may know another schedule.
    max_interval = 5

    def __init__(self, app: Any, *args: Any, **options: Any) -> None:
        self.ledger = _ledger_of(app)
        self._is_entered = self._is_closed = False
        self._resting: dict[str, datetime] = {}
        # A beat inside a worker (-B) is a fork of it. Nothing is asked of the database before that signal.
        signals.beat_embedded_init.connect(discard_inherited, dispatch_uid=f"{__name__}.discard_inherited")
        super().__init__(app, *args, **options)

    def setup_schedule(self) -> None:
        """Read the schedule of the configuration, and Celery's own entries."""
        self.update_from_dict(self.app.conf.beat_schedule)
        self.install_default_entries(self.schedule)

    @property
    def info(self) -> str:
        """For the banner."""
        return f"    . ledger -> {self.ledger.table.name}"

    def tick(self, *args: Any, **options: Any) -> float:
        """Run what is due; a database that does not answer is asked again.

        :returns: for how many seconds there is nothing to do.
        :raises SystemExit: beat was told to end.
        """
        seconds = self._tick_or_pause()
        if self._is_closed:
            # Celery's handler of signals has closed this, and raised SystemExit wherever the process was: in a hook of
            # the transaction perhaps, where the package transaction swallows what it meets.
            raise SystemExit
        return seconds

    def close(self) -> None:
        """Celery calls this when beat ends."""
        self._is_closed = True
        super().close()

    def _tick_or_pause(self) -> float:
        try:
            return self._tick()
        except SQLAlchemyError as error:
            reason = str(error).split("\n", 1)[0]
            logger.warning("beat pauses, and asks the database again: %s: %s", type(error).__name__, reason)
        except Exception:
            # One that nobody expects must not end the promise.
            logger.exception("beat pauses")
        return min(PAUSE, self.max_interval)

    def _tick(self) -> float:
        looks = [self._attend(self.schedule[name], line) for name, line in self._lines().items()]
        seconds = [(look - utcnow()).total_seconds() for look in looks]
        return max(0.0, min([*seconds, self.max_interval]))

    def _lines(self) -> dict[str, Line]:
        """The entries as they stand in the ledger; those that are new to it are written."""
        if not self._is_entered:
            self._enter(self.schedule)
            self._is_entered = True
        lines = self._read()
        missing = [name for name in self.schedule if name not in lines]
        return self._read() if self._enter(missing) else lines

    def _read(self) -> dict[str, Line]:
        with self.ledger.autocommit() as connection:
            return schedule.read(self.ledger, connection, list(self.schedule))

    def _enter(self, names: Iterable[str]) -> bool:
        lines = list(self._first_lines(names))
        if lines:
            with self.ledger.begin() as connection:
                schedule.enter(self.ledger, connection, lines)
        return bool(lines)

    def _first_lines(self, names: Iterable[str]) -> Iterator[Line]:
        for entry in (self.schedule[name] for name in names):
            if not self._rests(entry):
                with self._or_rest(entry):
                    timetable = self._timetable(entry)
                    yield Line(entry.name, entry.task, timetable.describe(), timetable.after(utcnow()))

    def _attend(self, entry: LedgerEntry, line: Line) -> datetime:
        """Run an entry if it is due.

        :returns: when to look at it next.
        """
        now = utcnow()
        if line.tick > now:
            return line.tick
        with self._or_rest(entry):
            if not self._rests(entry) and not self._is_of_another(entry, line, now):
                return self._run(entry, now)
        return now + timedelta(seconds=self.max_interval)

    def _run(self, entry: LedgerEntry, now: datetime) -> datetime:
        manager = TransactionManager(explicit=True)
        with manager:
            connection = sessions.connection(self.ledger, sessions.join(self.ledger, manager, None))
            first = schedule.take(self.ledger, connection, entry.name, now)
            if first is None:
                return now + AGAIN
            plan = ticks.plan(self._timetable(entry), first, now, entry.missed or self.ledger.policy.missed_ticks)
            taken = Line(entry.name, entry.task, self._timetable(entry).describe(), first)
            if not schedule.move_on(self.ledger, connection, taken, plan.following):
                return now + AGAIN
            calls = calls_of(manager)
            with within(manager):
                for due in plan.due:
                    self._call(entry, due, calls)
        _report(entry, now - first, plan, calls)
        return plan.following

    def _call(self, entry: LedgerEntry, due: datetime, calls: Any) -> None:
        try:
            args, kwargs, options = _call_of(entry, due)
            task = self.app.tasks.get(entry.task)
            if isinstance(task, DeferredTask):
                task.apply_async(args, kwargs, **options)
            else:
                options = {**_options_of(task, args, kwargs), **options}
                threshold = self.ledger.policy.eta_threshold
                options.update(identify=True, hold_longer_than=threshold)
                message = publish.build(self.app, entry.task, args, kwargs, **options)
                # No worker tells the ledger of it, so that it is done when it is sent.
                record.hold(Place(calls), record.Entry(self.ledger, message=message, claimed=False))
        except Exception:
            # As in Celery: this tick is lost, and not all that come after it.
            logger.exception("[celerybeat:%s] task %s could not be called", entry.name, entry.task)

    def _timetable(self, entry: LedgerEntry) -> Timetable:
        return Timetable(entry.schedule, self.app.timezone)

    def _is_of_another(self, entry: LedgerEntry, line: Line, now: datetime) -> bool:
        """Whether a beat that was started later goes by another timetable, and sees to the entry."""
        return line.timetable != self._timetable(entry).describe() and line.tick > now - ticks.GRACE

    def _rests(self, entry: LedgerEntry) -> bool:
        return self._resting.get(entry.name, utcnow()) > utcnow()

    @contextmanager
    def _or_rest(self, entry: LedgerEntry) -> Iterator[None]:
        """An entry whose schedule raises an error must not stop the others."""
        try:
            yield
        except SQLAlchemyError:
            raise
        except Exception:
            logger.exception("[celerybeat:%s] the entry rests for %d s", entry.name, REST.total_seconds())
            self._resting[entry.name] = utcnow() + REST


def _ledger_of(app: Any) -> Ledger:
    ledger = record.ledger_of(app)
    if ledger is None:
        raise NotConfigured(
            "beat_scheduler is pyramid_celery_tm.beat:LedgerScheduler, and the application has no ledger: call"
            " config.configure_ledger(model, engine), and leave task_always_eager off; or let one beat run with"
            " beat_scheduler = celery.beat:PersistentScheduler"
        )
    return ledger


def _call_of(entry: LedgerEntry, due: datetime) -> tuple[Any, Any, dict[str, Any]]:
    """Arguments and options of the call of a tick."""
    args = beat._evaluate_entry_args(entry.args)  # noqa: SLF001 - Celery's own scheduler offers no other way
    kwargs = beat._evaluate_entry_kwargs(entry.kwargs)  # noqa: SLF001
    headers = {**(entry.options.get("headers") or {}), "celery_beat_task": True}
    return args, kwargs, {**entry.options, "headers": headers, "task_id": schedule.tick_id(entry.name, due)}


def _options_of(task: Any, args: Any, kwargs: Any) -> dict[str, Any]:
    """What a task of Celery's own would be called with, beside the options of the call."""
    if task is None:  # known to the workers only
        return {}
    if task.typing:
        task.__header__(*args, **kwargs)
    own = {"ignore_result": task.ignore_result, **task._get_exec_options()}  # noqa: SLF001 - as Task.apply_async does
    return {**own, "task_type": task, "shadow": task.shadow_name(args, kwargs, own)}


def _report(entry: LedgerEntry, late: timedelta, plan: ticks.Plan, calls: Any) -> None:
    if late >= ticks.GRACE:
        logger.warning(
            "[celerybeat:%s] ticks were missed for %d s: %d run now", entry.name, late.total_seconds(), len(plan.due)
        )
    items = [call.item for call in calls.calls if isinstance(call.item, record.Entry)]
    written = {item.id for item in items if not item.is_twin}
    for due in plan.due:
        if schedule.tick_id(entry.name, due) in written:
            logger.info("Scheduler: Sending due task %s (%s)", entry.name, entry.task)
