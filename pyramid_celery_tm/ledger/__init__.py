"""The ledger: one table that is outbox, inbox and history of an application's tasks.

A row per call; its id is the id of the task. It is written in the transaction of the caller, and so it is there if, and
only if, the caller's data is. It holds the finished message: whoever finds it unsent can send it. The worker claims it
in the transaction of the task, and so the task's effect is there if, and only if, the row says so.

This package speaks SQL and knows nothing of Celery or Pyramid. :mod:`pyramid_celery_tm.record` writes calls into it,
:mod:`pyramid_celery_tm.delivery` asks it what to do with a message, :mod:`pyramid_celery_tm.relay` sends what waits.

**Locks.** Every statement that takes rows that others may hold takes them with ``SKIP LOCKED``, or by the primary key
one at a time: nothing here waits for a running task, whose row is locked until its transaction ends, and no two
statements can wait for each other. Three exceptions, each for a moment: the parts of one chord wait for each other, so
do the twins of a message that came from elsewhere and has no row yet, and so do beats that start.

**Isolation.** A claim runs in the transaction of the task, at whatever level the application chose; under SERIALIZABLE
and REPEATABLE READ it can fail with a conflict, and the task runs again. The ledger's own short transactions are READ
COMMITTED.

**Connections.** They come from the application's engine: at most one for each thread beside the session's own.

**Vacuum.** A row is written three times in its life: inserted, marked as sent, claimed. The index that the relay reads
holds open rows only. On a busy PostgreSQL let autovacuum look often:
``ALTER TABLE task_record SET (autovacuum_vacuum_scale_factor = 0.02)``.

**SQLite** is for development: it has no row locks, so that a task that runs holds up every other writer.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property

from sqlalchemy import Connection, Engine, Table, inspect

from .model import LedgerMixin, State, aware, utcnow
from .policy import MISSED, Policy, read_policy

__all__ = ["KEY", "MISSED", "Ledger", "LedgerMixin", "Policy", "State", "aware", "read_policy", "utcnow"]

#: Where an application's registry has its ledger.
KEY = "pyramid_celery_tm.ledger"


@dataclass(frozen=True)
class Ledger:
    """The table of an application, and the engine of its database.

    :param table: a table with the columns of :class:`LedgerMixin`.
    :param engine: where it is, for the ledger's own short transactions.
    :param policy: when what is looked at.
    """

    table: Table
    engine: Engine
    policy: Policy = field(default_factory=Policy)

    @property
    def has_row_locks(self) -> bool:
        """Whether the database locks rows, and can skip those that are locked."""
        return self.engine.dialect.name != "sqlite"

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """A short transaction of the ledger's own, whatever level of isolation the application prefers."""
        with self.committing.begin() as connection:
            yield connection

    @cached_property
    def committing(self) -> Engine:
        """The engine, for short transactions that see what others have committed meanwhile."""
        return self._engine("READ COMMITTED")

    @cached_property
    def _autocommitting(self) -> Engine:
        return self._engine("AUTOCOMMIT")

    @contextmanager
    def autocommit(self) -> Iterator[Connection]:
        """A connection for a single statement: no round trips for BEGIN and COMMIT."""
        if not self.has_row_locks:
            with self.begin() as connection:
                yield connection
        else:
            with self._autocommitting.connect() as connection:
                yield connection

    def _engine(self, level: str) -> Engine:
        return self.engine.execution_options(isolation_level=level) if self.has_row_locks else self.engine

    def apart(self) -> Ledger:
        """The same ledger with connections of its own, for a thread beside a process that forks.

        A fork copies the locks of a pool as they are at that moment: one that this thread holds would stay locked in
        the child for ever.
        """
        engine = self.engine
        # A database in memory is its one connection.
        if engine.dialect.name == "sqlite" and not (engine.url.database or "").strip(":"):
            return self
        return Ledger(self.table, _reconnected(engine), self.policy)

    def is_there(self) -> bool:
        """Whether the database has the table."""
        return inspect(self.engine).has_table(self.table.name, schema=self.table.schema)

    def same_database(self, bind: Engine | Connection) -> bool:
        """Whether a session with this bind writes into the database of the ledger."""
        theirs, ours = bind.engine.url, self.engine.url
        return bind.engine is self.engine or theirs == ours


def _reconnected(engine: Engine) -> Engine:
    # A pool made like the old one; what listens to the engine itself has to be carried over by hand.
    separate = Engine(engine.pool.recreate(), engine.dialect, engine.url)
    separate.dispatch._update(engine.dispatch, only_propagate=False)  # noqa: SLF001
    return separate
