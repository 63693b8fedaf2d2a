"""Sends what is left over in the ledger: calls that have not reached the broker, or were sent and never finished.

A relay is a loop. Each worker runs one in a thread, ``ws-celery relay`` is one; any number of them share the work.
It needs no code of tasks, and it holds no transaction open while it speaks to the broker.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Sequence
from threading import Event, Thread
from typing import Any

from celery import Celery, signals
from kombu.exceptions import OperationalError
from sqlalchemy.exc import SQLAlchemyError

from . import publish, record
from .ledger import Ledger, backlog
from .packing import unpack

logger = logging.getLogger(__name__)

#: How often a relay looks for rows that are old enough to be deleted, in seconds.
PURGE_EVERY = 60.0
#: How long a relay leaves a database or a broker alone that does not answer, in seconds.
PAUSE = 5.0


class Relay:
    """One relay.

    :param app: the app that sends.
    :param ledger: the ledger, with connections of its own where the process forks.
    """

    def __init__(self, app: Celery, ledger: Ledger) -> None:
        self.app = app
        self.ledger = ledger
        self._stopping = Event()
        self._chores = [_Chore(self._purge, PURGE_EVERY)]
        if ledger.policy.relay:
            self._chores.append(_Chore(self.send_due, 0))

    def run(self) -> None:
        """Do what is to be done, again and again, until :meth:`stop`."""
        while not self._stopping.is_set():
            # Not in step with the others.
            pause = self.ledger.policy.relay_interval * random.uniform(0.8, 1.2)  # noqa: S311 - guards no secret
            try:
                for chore in self._chores:
                    chore.do()
            except (SQLAlchemyError, OperationalError) as error:
                logger.warning("the relay pauses: %s: %s", type(error).__name__, str(error).split("\n", 1)[0])
                pause = max(pause, PAUSE)
            except Exception:
                # One that nobody expects must not end the promise.
                logger.exception("the relay pauses")
                pause = max(pause, PAUSE)
            self._stopping.wait(pause)

    def stop(self) -> None:
        """Have :meth:`run` return soon."""
        self._stopping.set()

    def send_due(self) -> int:
        """Send what is due, batch after batch.

        :returns: how many calls were sent.
        :raises kombu.exceptions.OperationalError: the broker did not take them all; the rest comes again.
        :raises sqlalchemy.exc.SQLAlchemyError: the database does not answer.
        """
        sent = 0
        while not self._stopping.is_set():
            taken = backlog.take(self.ledger)
            sent += self._send(taken)
            if len(taken) < self.ledger.policy.relay_batch:
                break
        return sent

    def _send(self, taken: Sequence[backlog.Waiting]) -> int:
        loaded = {}
        for row in taken:
            message, claimed = unpack(self.app, row.name, row.message)
            message.content.headers[record.HEADER] = row.sends + 1
            loaded[id(message)] = (message, row, claimed)
        problems: list[Exception] = []
        messages = [message for message, _, _ in loaded.values()]
        done = publish.send_each(messages, lambda message, problem: problems.append(problem))
        rows = [loaded[id(message)][1:] for message in done]
        backlog.note_sent(self.ledger, [row for row, _ in rows], [row.id for row, claimed in rows if not claimed])
        if rows:
            logger.info("the relay sent %d calls: %s", len(rows), _names([row for row, _ in rows]))
        if problems:
            raise OperationalError(f"the broker did not take {len(problems)} of {len(taken)} calls: {problems[0]}")
        return len(rows)

    def _purge(self) -> None:
        while not self._stopping.is_set() and backlog.purge(self.ledger) == backlog.BITE:
            pass


class _Chore:
    """Something that is done every so many seconds."""

    def __init__(self, action: Callable[[], object], seconds: float) -> None:
        self.action = action
        self.seconds = seconds
        self.next = time.monotonic() + seconds

    def do(self) -> None:
        if time.monotonic() >= self.next:
            self.action()
            self.next = time.monotonic() + self.seconds


def _names(rows: Sequence[backlog.Waiting]) -> str:
    return ", ".join(f"{row.name}[{row.id}]" for row in rows[:10]) + (", ..." if len(rows) > 10 else "")


def _start_with_worker(sender: Any, **_: Any) -> None:
    app = sender.app
    ledger = record.ledger_of(app)
    if ledger is None:
        return
    _look_at_start(ledger, sender.controller)
    relay = Relay(app, ledger.apart())
    thread = Thread(target=relay.run, name="relay", daemon=True)
    signals.worker_shutting_down.connect(lambda **_: relay.stop(), weak=False)
    thread.start()


def _look_at_start(ledger: Ledger, controller: Any) -> None:
    try:
        if not ledger.is_there():
            logger.error("%s", missing_table(ledger))
        elif controller.purge:  # the worker's option, which has emptied the queues
            queues = list(controller.app.amqp.queues.consume_from)
            logger.warning("%d calls were purged, and revoked in the ledger", backlog.forget(ledger, queues))
    except SQLAlchemyError:
        # The relay says so, and goes on trying.
        return


def missing_table(ledger: Ledger) -> str:
    """What to tell people whose database has not the table of the ledger."""
    return f"the database has no table {ledger.table.fullname}: run the migrations, for example alembic upgrade head"


def connect() -> None:
    """Run a relay in each worker of this process."""
    signals.worker_ready.connect(_start_with_worker, dispatch_uid=f"{__name__}.start")
