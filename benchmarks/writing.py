"""What a task writes to disk, and what it leaves there. Times do not matter here, and bytes hardly vary."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any
from uuid import uuid4

from sqlalchemy import text
from sqlalchemy.orm import Session

from pyramid_celery_tm.ledger import KEY, Ledger, backlog, inbox, outbox

from .measure import Result, Sizes
from .rows import model_of
from .surroundings import Surroundings, autocommit, tidy
from .tasks import write

#: The steps of a task's life, in their order.
_INSERT, _MARK, _CLAIM, _RESULT, _DELETE = (
    "insert, with the caller's data",
    "mark as sent",
    "claim, with the task's effect",
    "claim and keep a result",
    "delete",
)
_WHOLE = "the whole life, a result kept"


def run(surroundings: Surroundings, sizes: Sizes) -> Iterator[Result]:
    """Each round is so many tasks, from the call until they are purged."""
    with surroundings.application(keep_done="0.000001") as registry:
        ledger: Ledger = registry[KEY]
        model = model_of(registry, ledger, write)
        rounds = [_life(ledger, model, sizes.written) for _ in range(3)]
        size = _size(ledger, model, sizes.written)
    values = {step: [round_[step] for round_ in rounds] for step in rounds[0]}
    yield Result("write-ahead log", "bytes per task", _INSERT, values, [_message(model)])
    yield Result("disk, with indexes", "bytes per row", "inserted", size)


def _life(ledger: Ledger, model: Mapping[str, Any], count: int) -> dict[str, float]:
    rows = [_like(model, str(uuid4())) for _ in range(2 * count)]
    ids = [row["id"] for row in rows]
    said: dict[str, float] = {}

    def step(name: str, work: Callable[[], object], tasks: int) -> None:
        said[name] = _logged(ledger, work) / tasks

    step(_INSERT, lambda: _insert(ledger, rows), 2 * count)
    step(_MARK, lambda: outbox.mark_sent(ledger, ids), 2 * count)
    step(_CLAIM, lambda: _claim(ledger, ids[:count], result=None), count)
    step(_RESULT, lambda: _claim(ledger, ids[count:], result="12345"), count)
    step(_DELETE, lambda: _purge(ledger), 2 * count)
    return {**said, _WHOLE: sum(said[name] for name in (_INSERT, _MARK, _RESULT, _DELETE))}


def _size(ledger: Ledger, model: Mapping[str, Any], count: int) -> dict[str, list[float]]:
    tidy(ledger)
    rows = [_like(model, str(uuid4())) for _ in range(count)]
    ids = [row["id"] for row in rows]
    said: dict[str, list[float]] = {}

    def step(name: str, work: Callable[[], object]) -> None:
        work()
        said[name] = [_disk(ledger) / count]

    step("inserted", lambda: _insert(ledger, rows))
    step("and marked as sent", lambda: outbox.mark_sent(ledger, ids))
    step("and claimed, a result kept", lambda: _claim(ledger, ids, result="12345"))
    step("and rewritten (VACUUM FULL)", lambda: _rewrite(ledger))
    return said


def _like(model: Mapping[str, Any], task_id: str) -> dict[str, Any]:
    return {**model, "id": task_id, "message": model["message"].replace(model["id"], task_id), "state": "pending"}


def _insert(ledger: Ledger, rows: list[dict[str, Any]]) -> None:
    with ledger.begin() as connection:
        outbox.add(ledger, connection, rows)


def _claim(ledger: Ledger, ids: list[str], result: str | None) -> None:
    for task_id in ids:
        with Session(ledger.engine) as session:
            connection = session.connection()
            if not inbox.claim(ledger, connection, inbox.Claim(task_id, write.name)):
                raise RuntimeError("the call could not be claimed: what was measured is something else")
            if result is not None:
                inbox.answer(ledger, connection, task_id, {"result": result})
            session.commit()


def _purge(ledger: Ledger) -> None:
    while backlog.purge(ledger):
        pass


def _rewrite(ledger: Ledger) -> None:
    with autocommit(ledger) as connection:
        connection.execute(text(f"VACUUM FULL {ledger.table.name}"))


def _logged(ledger: Ledger, work: Callable[[], object]) -> float:
    """How many bytes of log were written meanwhile."""
    with autocommit(ledger) as connection:
        before = connection.execute(text("SELECT pg_current_wal_insert_lsn()::text")).scalar()
        work()
        difference = text("SELECT pg_current_wal_insert_lsn() - CAST(:before AS pg_lsn)")
        return float(connection.execute(difference, {"before": before}).scalar_one())


def _disk(ledger: Ledger) -> float:
    with autocommit(ledger) as connection:
        return float(connection.execute(text(f"SELECT pg_total_relation_size('{ledger.table.name}')")).scalar_one())


def _message(model: Mapping[str, Any]) -> str:
    return f"the message has {len(model['message'])} characters"
