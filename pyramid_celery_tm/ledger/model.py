"""The table, as a model that an application takes into its own metadata and its own migrations."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import DateTime, Index, String, Text, literal_column
from sqlalchemy.orm import Mapped, declared_attr, mapped_column


class State(StrEnum):
    """Where a call stands."""

    PENDING = "pending"
    """Committed, and not known to have reached the broker; or waiting for its time."""
    SENT = "sent"
    """The broker has taken its message, and no worker has finished it."""
    ANSWERED = "answered"
    """It has run, and its effect is committed; what follows it (callbacks, chain, chord) is not all on its way yet."""
    DONE = "done"
    """It has run, its effect is committed, and what follows it is on its way."""
    FAILED = "failed"
    """It failed for good, its effect is rolled back; it can be sent again by hand."""
    REVOKED = "revoked"
    """It will not run: it was revoked, or it expired."""
    CHORD = "chord"
    """No call, but a chord that waits for the tasks of its header."""
    SCHEDULE = "schedule"
    """No call, but an entry of beat's schedule; ``eta`` is its next tick."""


class LedgerMixin:
    """The columns and indexes of the ledger; all times are UTC.

    ::

        class TaskRecord(LedgerMixin, Base):
            __tablename__ = "task_record"

    A model that has a ``__table_args__`` of its own adds ``LedgerMixin.indexes(cls)`` to it. The columns are the
    library's: read them as you like, write them through the library's functions and commands.
    """

    #: The id of the task, which is what makes its effect happen once.
    id: Mapped[str] = mapped_column(String(255), primary_key=True)
    #: The name of the task.
    name: Mapped[str] = mapped_column(String(255))
    #: The queue that it is sent to.
    queue: Mapped[str | None] = mapped_column(String(255))
    #: A value of :class:`State`.
    state: Mapped[str] = mapped_column(String(10))
    #: The finished message, as JSON; nothing for what came from elsewhere.
    message: Mapped[str | None] = mapped_column(Text)
    #: Retries in Celery's count.
    retries: Mapped[int] = mapped_column(default=0)
    #: How often it was started since it was called or last retried, as far as is known.
    starts: Mapped[int] = mapped_column(default=0)
    #: How often its message was sent since then.
    sends: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    #: When the relay has to look at the row next; nothing where it has no reason to.
    due_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    #: Not to run before.
    eta: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    #: Not to run after.
    expires_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    finished_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    #: What it returned or raised, as JSON.
    result: Mapped[str | None] = mapped_column(Text)
    #: Why it failed, in one line.
    error: Mapped[str | None] = mapped_column(Text)
    traceback: Mapped[str | None] = mapped_column(Text)
    #: The chord in whose header the task is.
    chord_id: Mapped[str | None] = mapped_column(String(255))

    @staticmethod
    def indexes(cls: Any) -> tuple[Index, ...]:  # noqa: PLW0211 - of the model, which is not made yet
        """The indexes, for the ``__table_args__`` of a model."""
        # Partial ones: the relay's holds the open rows alone, whatever the number of those that are finished. Each
        # column is null where its index need not know the row, which every plan can see, a prepared one too.
        columns = {"due_at": "due_at IS NOT NULL", "chord_id": "chord_id IS NOT NULL", "finished_at": None}
        return (
            *(_index(f"ix_{cls.__tablename__}_{name}", name, where) for name, where in columns.items()),
            _index(f"ix_{cls.__tablename__}_failed", "finished_at", "state = 'failed'"),
        )

    @declared_attr.directive
    def __table_args__(cls) -> tuple[Index, ...]:  # noqa: N805 - SQLAlchemy gives the class
        return LedgerMixin.indexes(cls)


def _index(name: str, column: str, where: str | None) -> Index:
    condition: Any = None if where is None else literal_column(where)
    return Index(name, column, postgresql_where=condition, sqlite_where=condition)


def utcnow() -> datetime:
    """Now. The machines that share a ledger keep the same time, as NTP does for them."""
    return datetime.now(UTC)


def aware(value: datetime | None) -> datetime | None:
    """A time as it was written: SQLite keeps no time zone."""
    return value.replace(tzinfo=UTC) if value is not None and value.tzinfo is None else value
