"""What happens to a call when its task is over, told by Celery's signals and the worker's main process.

What follows a task is sent by Celery after the task's commit; only then is the call done. And a task may end without a
word: its process was killed, or its message thrown away.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from threading import Thread
from typing import Any

from celery import Task, signals
from celery.exceptions import TimeLimitExceeded, WorkerLostError
from sqlalchemy.exc import SQLAlchemyError

from .delivery import FOLLOWED, SAVED
from .ledger import Ledger, State, inbox, utcnow
from .packing import dumps
from .record import HEADER, ledger_of

logger = logging.getLogger(__name__)


def connect() -> None:
    """Hear of tasks that end, in this process and its children."""
    for signal in (signals.task_success, signals.task_failure):
        signal.connect(_finished, dispatch_uid=f"{__name__}.finished")
    signals.task_revoked.connect(_revoked, dispatch_uid=f"{__name__}.revoked")


def is_left_to_relay(ledger: Ledger, backend: Any, task_id: str, error: BaseException, context: Any) -> bool:
    """Whether a failure that Celery wants to note is none of the task's.

    The task may have returned, or have asked for its retry, and what came after that failed: a result backend that was
    down. What follows a task that has returned is tried again, and nothing else of it. A child that was killed says
    nothing about its task either. One that was killed because the task took too long does, and that is written into
    the row.
    """
    if context is None:
        return False
    if vars(context).pop(SAVED, False):
        vars(context).pop(FOLLOWED, None)
        logger.warning("task %s has its outcome saved, and what follows it is tried again: %s", task_id, error)
        return True
    if context.get(HEADER) is None:
        return False
    if isinstance(error, WorkerLostError):
        logger.warning("task %s lost its worker and is sent again: %s", task_id, error)
        at = utcnow() + timedelta(seconds=ledger.policy.unsent_after)
        _aside(partial(inbox.let_go, ledger.apart(), task_id, at), task_id)
        return True
    if isinstance(error, TimeLimitExceeded):
        claim = inbox.Claim(task_id, context.get("task"), context.get("retries") or 0)
        raised = dumps(backend.prepare_exception(error, serializer="json"))
        said = {"result": raised, "error": f"{type(error).__name__}: {error}"}
        values = inbox.outcome(State.FAILED, followed=False) | said
        _aside(partial(inbox.settle, ledger.apart(), claim, values), task_id)
    return False


def _finished(sender: Task, **_: Any) -> None:
    """What follows a task is on its way."""
    context = sender.request
    if vars(context).get(FOLLOWED):
        ledger = ledger_of(sender.app)
        if ledger is not None:
            _say(partial(inbox.finish, ledger, context.id), context.id)


def _revoked(sender: Task, request: Any, *, terminated: bool, expired: bool, **_: Any) -> None:
    """A worker has thrown a message away."""
    ledger = ledger_of(sender.app)
    if ledger is not None:
        reason = "expired" if expired else "terminated" if terminated else "revoked"
        _aside(partial(inbox.revoke, ledger.apart(), request.id, reason), request.id)


def _aside(write: Callable[[], object], task_id: str) -> None:
    # In a thread: the row of a task whose process is being killed is locked until the database has noticed its end.
    Thread(target=_say, args=(write, task_id), daemon=True).start()


def _say(write: Callable[[], object], task_id: str) -> None:
    try:
        write()
    except SQLAlchemyError:
        logger.exception("task %s: what became of it could not be written; a relay looks after it", task_id)
