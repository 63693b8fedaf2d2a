"""What a transaction holds until it commits.

A transaction of the package ``transaction`` holds calls here, in the order in which they were made. An after-commit
hook hands them on when, and only when, it has committed. The hook alone is not enough: one that was registered inside
a savepoint still runs after the savepoint was rolled back. So a data manager that knows savepoints joins the
transaction, too, and drops what was called since.

This module knows ``transaction`` and nothing of Celery, SQL or Pyramid: it is handed callables.
:mod:`pyramid_celery_tm.publish` hands it messages to send, :func:`pyramid_celery_tm.on_commit` functions to call.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from typing import Any

from transaction._transaction import Status
from transaction.interfaces import IDataManagerSavepoint, ISavepointDataManager, ITransaction, NoTransaction
from zope.interface import implementer

logger = logging.getLogger(__name__)


@dataclass
class Release:
    """One going-out of what a transaction held.

    :ivar errors: exceptions to raise from ``commit()`` once all hooks have run.
    :ivar silent: what did not answer and should not be waited for again.
    """

    errors: list[BaseException] = field(default_factory=list)
    silent: set[str] = field(default_factory=set)


#: Takes the items of consecutive calls, all of them in one go.
Send = Callable[[Sequence[Any], Release], None]


class Held(Enum):
    """What became of a call."""

    WAITING = "waiting"  #: its transaction is open
    DROPPED = "dropped"  #: its savepoint was rolled back, or its transaction did not commit
    RELEASED = "released"  #: its transaction committed and it was handed on


@dataclass(eq=False)
class Call:
    """One call that waits for the end of a transaction."""

    send: Send
    item: Any
    state: Held = Held.WAITING

    def drop(self) -> None:
        """Never hand this call on."""
        if self.state is Held.WAITING:
            self.state = Held.DROPPED


class Calls:
    """The calls of one transaction.

    Calls are never taken out of the list, only marked: a position in it stays valid as a savepoint.
    """

    def __init__(self, transaction: ITransaction, manager: Any) -> None:
        self.transaction = transaction
        self.manager = manager
        self.calls: list[Call] = []
        self.next: int | None = None
        self.over = False
        self.aborted_by: _DataManager | None = None
        self.data_manager: _DataManager | None = None
        self.release = Release()
        self._write: Callable[[], object] | None = None
        self._is_written = False

    def is_over(self) -> bool:
        """Whether a call has come too late to wait: what was held has gone out, or has been dropped for good.

        A data manager is aborted with its transaction, which keeps it until the end, or with a savepoint, which throws
        it out. Nothing else tells the two apart, so the list of resources is read.
        """
        return self.over or self.aborted_by in self.transaction._resources  # noqa: SLF001

    def add(self, send: Send, item: Any) -> Call:
        """Hold a call until the commit.

        :param send: called after the commit with a list of items and the :class:`Release`; consecutive calls with the
            same ``send`` arrive in one list.
        :param item: the call's own item in that list.
        :returns: the call, to ask what became of it.
        """
        self._join()
        call = Call(send, item)
        if self.next is None:
            self.calls.append(call)
        else:  # called by what is going out: it takes its caller's place in the order
            self.calls.insert(self.next, call)
            self.next += 1
        return call

    def write_with(self, join: Callable[[], object], write: Callable[[], object]) -> None:
        """Have what is held written down as well, in the same transaction; the first one who asks for it is heard.

        :param join: called when the commit begins: the last moment for others to join the transaction.
        :param write: called when every other resource has been told to prepare, and before any of them votes.
        """
        if self._write is None:
            self._write = write
            self.transaction.addBeforeCommitHook(join)

    @property
    def is_written(self) -> bool:
        """Whether ``write`` has been called, or never will be: a call made now comes late."""
        return self._is_written or self.data_manager is None

    def write(self) -> None:
        """Write down what is held, if anybody has asked for it."""
        self._is_written = True
        if self._write is not None:
            self._write()

    def waiting(self) -> list[Call]:
        """The calls that would go out if the transaction committed now."""
        return [call for call in self.calls if call.state is Held.WAITING]

    def drop_since(self, position: int) -> None:
        """Drop what was called after ``position`` calls had been made."""
        for call in self.calls[position:]:
            call.drop()

    def raise_errors_from_commit(self, asked_again: Any = None) -> None:
        """Let ``transaction.commit()`` raise what :attr:`Release.errors` gathers.

        ``transaction`` logs and swallows whatever a hook raises, and what a data manager raises in ``tpc_finish``
        makes the other hooks believe that the commit failed. Only eager tasks want their errors raised there: for
        those, this one transaction object gets a ``commit`` that raises when everything else is done.

        :param asked_again: a manager that is asked for its transaction when the error comes out, and has none any
            more: pyramid_tm asks whether the error is worth a retry. It is given an empty one.
        """
        if "commit" not in vars(self.transaction):
            vars(self.transaction)["commit"] = partial(_commit, self.transaction.commit, self.release, asked_again)

    def finish(self, committed: bool) -> None:  # noqa: FBT001 - how ``transaction`` calls it
        """The after-commit hook.

        A call made by what is handed on here (an ``on_commit`` function that calls a task) is held, too, and goes out
        next.
        """
        done = 0
        while committed and done < len(self.calls):
            batch = self._next_batch(done)
            done += len(batch)
            self.next = done
            self._hand_on(batch)
        self.over = True
        self.drop_since(0)

    def _join(self) -> None:
        if self.data_manager is not None:
            return
        data_manager = _DataManager(self)
        try:
            self.transaction.join(data_manager)
        except ValueError:
            # Too late to join: the transaction is committing (an event listener calls a task during the last flush).
            # Then no savepoint can be rolled back any more either.
            return
        self.data_manager = data_manager

    def _next_batch(self, start: int) -> list[Call]:
        send = self.calls[start].send
        stop = start + 1
        while stop < len(self.calls) and self.calls[stop].send == send:
            stop += 1
        return self.calls[start:stop]

    def _hand_on(self, batch: list[Call]) -> None:
        waiting = [call for call in batch if call.state is Held.WAITING]
        for call in waiting:
            call.state = Held.RELEASED
        if waiting:
            try:
                waiting[0].send([call.item for call in waiting], self.release)
            except Exception:
                logger.exception("after the commit, %d calls could not be handed on", len(waiting))


def calls_of(manager: Any) -> Calls | None:
    """Where a call made now has to wait.

    :param manager: a transaction manager, or ``None``.
    :returns: the calls of the manager's open transaction; ``None`` where there is none, or where it has handed on
        what it held, has failed or was aborted: then a call leaves at once.
    """
    transaction = open_transaction(manager)
    if transaction is None or transaction.status is Status.COMMITFAILED:
        return None
    try:
        calls: Calls = transaction.data(Calls)
    except KeyError:
        calls = Calls(transaction, manager)
        transaction.set_data(Calls, calls)
        transaction.addAfterCommitHook(calls.finish)
    return None if calls.is_over() else calls


def open_transaction(manager: Any) -> ITransaction | None:
    """The transaction of a manager, without beginning one.

    A manager that is not in explicit mode begins a transaction when it is asked for one. Held on that, a call made
    after the end of a web request would wait for a commit that never comes. No public method tells whether a
    transaction is open, so the attribute of ``transaction.TransactionManager`` is read.
    """
    if manager is None:
        return None
    if getattr(manager, "explicit", False):
        try:
            return manager.get()
        except NoTransaction:
            return None
    return getattr(getattr(manager, "manager", manager), "_txn", None)


def _commit(commit: Callable[[], None], release: Release, asked_again: Any) -> None:
    commit()
    if release.errors:
        if asked_again is not None:
            asked_again.begin()
        raise release.errors[0]


@implementer(ISavepointDataManager)
class _DataManager:
    """Takes part in a transaction for the sake of its savepoints, and to have what is held written down.

    It votes yes: its sort key brings it before the database, which has flushed when this is told to commit (that came
    with ``tpc_begin``) and commits when it is told to vote.
    """

    transaction_manager = None

    def __init__(self, calls: Calls) -> None:
        self.calls = calls

    def sortKey(self) -> str:
        # Before "~sqlalchemy": what votes after the database could only fail when its COMMIT is already done.
        return f"pyramid_celery_tm:{id(self)}"

    def abort(self, transaction: ITransaction) -> None:
        # Also how a savepoint older than this data manager is rolled back; it is then thrown out of the transaction,
        # and another one has to join before the next call. After a commit it is called with nothing left to drop.
        self.calls.aborted_by = self
        self.calls.data_manager = None
        self.calls.drop_since(0)

    def tpc_begin(self, transaction: ITransaction) -> None: ...

    def commit(self, transaction: ITransaction) -> None:
        self.calls.write()

    def tpc_vote(self, transaction: ITransaction) -> None: ...

    def tpc_finish(self, transaction: ITransaction) -> None: ...

    def tpc_abort(self, transaction: ITransaction) -> None: ...

    def savepoint(self) -> _Savepoint:
        return _Savepoint(self.calls, len(self.calls.calls))


@implementer(IDataManagerSavepoint)
class _Savepoint:
    def __init__(self, calls: Calls, position: int) -> None:
        self.calls = calls
        self.position = position

    def rollback(self) -> None:
        self.calls.drop_since(self.position)
