"""Rows of the ledger in any number, as the library would have written them."""

from __future__ import annotations

from typing import Any

from celery import Task
from sqlalchemy import select, text

from pyramid_celery_tm.ledger import Ledger
from pyramid_celery_tm.request import open_request

from .tasks import ARGUMENTS

#: The id of each row is of chance, as Celery's are; its message is that of a real call, with this id.
_FILL = """
INSERT INTO task_record (id, name, queue, state, message, retries, starts, sends, created_at, due_at, finished_at)
SELECT id, :name, 'celery', :state, replace(:message, :model, id), 0, :starts, :sends, now(),
       now() + :due * interval '1 second', now() + :finished * interval '1 second'
FROM (SELECT gen_random_uuid()::text AS id FROM generate_series(1, :count)) AS made
RETURNING id
"""


def model_of(registry: Any, ledger: Ledger, task: Task) -> dict[str, Any]:
    """The row that a real call of a task makes; it is not left in the ledger, and its message is in the queue."""
    with open_request(registry) as request, request.tm:
        task_id = task.delay(*ARGUMENTS).id
    table = ledger.table
    with ledger.begin() as connection:
        row = connection.execute(select(table).where(table.c.id == task_id)).mappings().one()
        connection.execute(table.delete().where(table.c.id == task_id))
    return dict(row)


def fill(ledger: Ledger, model: dict[str, Any], count: int, **values: Any) -> list[str]:
    """Write rows like one.

    :param values: ``state``, ``starts``, ``sends``, and ``due`` and ``finished`` in seconds from now.
    :returns: their ids.
    """
    given = {"name": model["name"], "message": model["message"], "model": model["id"], "count": count}
    with ledger.begin() as connection:
        defaults = {"state": "pending", "starts": 0, "sends": 0, "due": None, "finished": None}
        return list(connection.execute(text(_FILL), {**given, **defaults, **values}).scalars())


def fill_open(ledger: Ledger, model: dict[str, Any], count: int) -> list[str]:
    """Write rows whose messages are with the broker."""
    return fill(ledger, model, count, state="sent", sends=1, due=300)


def fill_finished(ledger: Ledger, model: dict[str, Any], count: int, bite: int = 100_000, age: int = 0) -> None:
    """Write rows of tasks that have run.

    :param age: for how many seconds they have been finished.
    """
    for start in range(0, count, bite):
        fill(ledger, model, min(bite, count - start), state="done", starts=1, sends=1, finished=-age)
