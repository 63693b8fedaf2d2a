"""The ledger of the task system: a row for each call of a task, written with the data of the request that called it."""

from __future__ import annotations

from pyramid_celery_tm import LedgerMixin

from .meta import Base


class TaskRecord(LedgerMixin, Base):
    """A call of a task. Its columns are the library's; read them, and leave the writing to it."""

    __tablename__ = "task_record"
