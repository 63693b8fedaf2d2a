"""What the ledger says to a message that a worker was given, and is told of its outcome.

A message may come twice, or long after its work was done, or never: then a relay sends it again. So a worker asks the
ledger before it runs a task, and the row decides: the first copy runs, any other one is answered as the first was.
"""

from __future__ import annotations

import logging
import traceback as tracebacks
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from threading import Event, Thread
from typing import Any

from celery import Task
from celery.exceptions import Ignore, Reject, Retry
from kombu.exceptions import EncodeError
from sqlalchemy.exc import InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.orm import Session

from . import sessions
from .exceptions import TooManyStarts
from .ledger import Ledger, State, inbox, utcnow
from .packing import dumps, loads
from .record import HEADER, Entry, afterwards, ledger_of, send_in_place_of

logger = logging.getLogger(__name__)

#: How often a claim is tried that meets conflicts. No work is lost with it, so it may be more often than the task.
CLAIM_ATTEMPTS = 20

#: Marks the context of a task that something follows, and that is not finished before that is sent.
FOLLOWED = "_pyramid_celery_tm_followed"
#: Marks the context of a task whose outcome is saved: its effect, its retry, or what replaces it.
SAVED = "_pyramid_celery_tm_saved"


class Twin(Exception):
    """The message is not the one that runs: its work is done, is being done, or has been taken over."""


@dataclass(frozen=True)
class Outcome:
    """What a first copy returned; for a twin to return as well."""

    value: Any


@dataclass
class Delivery:
    """One message, on its way through a worker."""

    ledger: Ledger
    task: Task
    claim: inbox.Claim
    has_row: bool
    came_before: bool
    counted: bool = False
    #: What the task asked for instead of an outcome of its own: its retry, what replaces it.
    asked: list[Entry] = field(default_factory=list)

    def start(self, lease: float | None = None) -> None:
        """Before anything else: count the start where that matters.

        :param lease: seconds in which no relay sends it again; ``None`` for a call that is claimed next.
        :raises Twin: it may not run.
        :raises TooManyStarts: it has been started too often.
        """
        if not self.has_row or (lease is None and not self.came_before):
            return
        starts = inbox.begin(self.ledger, self.claim, lease)
        if starts is None:
            raise Twin
        self.counted = True
        if starts > self.ledger.policy.max_starts:
            raise TooManyStarts(
                f"task {self.claim.name}[{self.claim.task_id}] was started {starts - 1} times and never finished: it is"
                " not started again. It may be what kills its workers; send it again with ws-celery ledger resend"
            )

    @contextmanager
    def leased(self) -> Iterator[None]:
        """Keep the relay away while the task runs, and no longer than its process lives.

        The process itself says so: the worker's list of what its children do outlives them at times.
        """
        over = Event()
        lease = self.ledger.policy.resend_after

        def renew() -> None:
            while not over.wait(lease / 3):
                try:
                    inbox.renew(self.ledger, self.claim.task_id, lease)
                except SQLAlchemyError:
                    logger.warning("task %s could not renew its lease: it may be sent again", self.claim.task_id)

        Thread(target=renew, name="lease", daemon=True).start()
        try:
            yield
        finally:
            over.set()

    def take(self, request: Any) -> Session:
        """Claim the call in the transaction of a request.

        :raises Twin: it may not run.
        """
        session = sessions.join(self.ledger, request.tm, request)
        connection = sessions.connection(self.ledger, session)
        if self.has_row:
            free = inbox.claim(self.ledger, connection, self.claim, counted=self.counted)
        else:
            free = inbox.adopt(self.ledger, connection, self.claim, self._queue())
        if not free:
            raise Twin
        return session

    def answer(self, session: Session, value: Any) -> None:
        """Write what the task returned, in the transaction that claimed it."""
        result = self.encode(value)
        if result is not None:
            connection = sessions.connection(self.ledger, session)
            inbox.answer(self.ledger, connection, self.claim.task_id, {"result": result})

    @property
    def runs_again(self) -> bool:
        """Whether the task has asked for a retry, and perhaps gone on (``throw=False``)."""
        return any(entry.id == self.claim.task_id for entry in self.asked)

    def leave_open(self, session: Session) -> None:
        """Let the call run again although its transaction commits."""
        connection = sessions.connection(self.ledger, session)
        values = {"state": State.SENT, "finished_at": None, "due_at": self._soon()}
        inbox.answer(self.ledger, connection, self.claim.task_id, values)

    def succeeded(self, value: Any) -> None:
        """Write that the task has run, in a transaction of the ledger's own; what goes wrong is logged."""
        self._settle({"result": self.encode(value)})

    def failed(self, error: BaseException) -> None:
        """Write what became of a task that raised, once its transaction was aborted; what goes wrong is logged."""
        match error:
            case Retry() | Reject(requeue=True):
                return  # it is not over
            case Ignore() if self.asked:
                return  # others take its place
            case Ignore():
                self._settle({})
            case Exception():
                self._settle_failure(error)

    def _settle_failure(self, error: Exception) -> None:
        context = self.task.request
        followed = bool(context.errbacks or context.chain or context.chord)
        values: dict[str, Any] = {
            "result": dumps(self.task.backend.prepare_exception(error, serializer="json")),
            "error": f"{type(error).__name__}: {error}",
            "traceback": "".join(tracebacks.format_exception(error)),
        }
        vars(context)[FOLLOWED] = followed
        self._settle({**inbox.outcome(State.FAILED, followed=followed), **values})

    def _settle(self, values: dict[str, Any]) -> None:
        try:
            inbox.settle(self.ledger, self.claim, values)
        except SQLAlchemyError:
            logger.exception("the outcome of task %s could not be written; it is sent again", self.claim.task_id)

    def outcome_of_first(self) -> Outcome | None:
        """What the first copy came to; ``None`` where that is not known, or not yet.

        :raises Exception: what the first copy raised.
        """
        with self.ledger.autocommit() as connection:
            known = inbox.look(self.ledger, connection, self.claim.task_id)
        if known.state not in (State.DONE, State.FAILED, State.ANSWERED):
            return None
        context = self.task.request
        if known.state is State.ANSWERED:  # whoever ran it may be gone, and what follows may not have been sent
            vars(context)[FOLLOWED] = True
        else:
            context.callbacks = context.errbacks = context.chain = context.chord = None
        value = loads(known.result)
        if known.error is not None:
            raise self.task.backend.exception_to_python(value)
        vars(context)[SAVED] = True
        return Outcome(value)

    def encode(self, value: Any) -> str | None:
        """What a task returned, as text.

        :raises kombu.exceptions.EncodeError: it cannot be kept, and somebody would want it.
        """
        if value is None:
            return None
        try:
            return dumps(value)
        except EncodeError:
            if self.task.ignore_result and not self.claim.followed:
                return None
            raise

    def let_go(self) -> None:
        """Have it sent again soon; what goes wrong is logged."""
        try:
            inbox.let_go(self.ledger, self.claim.task_id, self._soon())
        except SQLAlchemyError:
            logger.warning("task %s is sent again later, the database does not answer", self.claim.task_id)

    def _soon(self) -> Any:
        return utcnow() + timedelta(seconds=self.ledger.policy.unsent_after)

    def _queue(self) -> str | None:
        return (self.task.request.delivery_info or {}).get("routing_key")


def delivery_of(task: Task) -> Delivery | None:
    """The message that a task is being run for; ``None`` where no ledger has a say."""
    context = task.request
    ledger = None if context.is_eager else ledger_of(task.app)
    if ledger is None:
        return None
    followed = bool(context.callbacks or context.chain or context.chord)
    if followed:
        vars(context)[FOLLOWED] = True
    claim = inbox.Claim(context.id, task.name, context.retries or 0, followed)
    sends = context.get(HEADER)
    redelivered = bool((context.delivery_info or {}).get("redelivered"))
    return Delivery(ledger, task, claim, sends is not None, redelivered or (sends or 0) > 1)


def deliver(delivery: Delivery, run: Callable[[], Any]) -> Any:
    """Run a task for a message, unless another copy of the message did, or does.

    :param run: claims the call and runs the task; raises :class:`Twin` where it cannot claim it.
    """
    replaced = False
    with afterwards() as delivery.asked:
        try:
            result = run()
        except Twin:
            return _as_twin(delivery)
        except BaseException as error:
            if is_disconnect(error):
                return _after_disconnect(delivery, error)
            replaced = isinstance(error, Ignore)
            delivery.failed(error)
            raise
        else:
            vars(delivery.task.request)[SAVED] = True
            return result
        finally:
            _send_asked(delivery, replaced=replaced)


def _send_asked(delivery: Delivery, *, replaced: bool) -> None:
    if delivery.asked:
        try:
            send_in_place_of(delivery.ledger, delivery.claim.task_id, delivery.asked, replaced=replaced)
            vars(delivery.task.request)[SAVED] = True
        except SQLAlchemyError:
            # The row is as before: the task is sent again, and asks again.
            logger.exception("what task %s asked for could not be written", delivery.claim.task_id)


def _as_twin(delivery: Delivery) -> Any:
    outcome = delivery.outcome_of_first()
    if outcome is None:
        logger.info("task %s[%s]: another copy of the message runs", delivery.claim.name, delivery.claim.task_id)
        raise Ignore("another copy of the message runs, or has been given another task")
    logger.info("task %s[%s]: its work was done before", delivery.claim.name, delivery.claim.task_id)
    return outcome.value


def _after_disconnect(delivery: Delivery, error: BaseException) -> Any:
    """The database went away: the work is rolled back, unless it went in the very moment of the commit."""
    try:
        outcome = delivery.outcome_of_first()
    except SQLAlchemyError:
        outcome = None
    if outcome is not None:
        return outcome.value
    logger.warning("task %s lost its database and is sent again: %s", delivery.claim.task_id, error)
    delivery.let_go()
    raise Ignore("the database went away; a relay sends the message again") from error


def is_disconnect(error: BaseException) -> bool:
    """Whether an error says that the connection to the database is gone, or could not be made."""
    if not isinstance(error, OperationalError | InterfaceError):
        return False
    return bool(error.connection_invalidated) or getattr(error.orig, "sqlstate", "") is None
