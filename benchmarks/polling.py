"""Looks for work where there is none: what each relay does all day."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import psycopg
from sqlalchemy import event, text

from pyramid_celery_tm.ledger import KEY, Ledger, backlog

from .measure import Result, Sizes, interleave, milliseconds
from .rows import fill, fill_finished, model_of
from .surroundings import Surroundings, autocommit, tidy
from .tasks import write

_EMPTY = "empty table"


def run(surroundings: Surroundings, sizes: Sizes) -> Iterator[Result]:
    """First at rest; then while somebody holds a snapshot, so that what tasks leave behind cannot be cleaned away."""
    with ExitStack() as stack:
        empty, full = (stack.enter_context(surroundings.application()) for _ in range(2))
        model = model_of(full, full[KEY], write)
        fill_finished(full[KEY], model, sizes.finished)
        for registry in (empty, full):
            tidy(registry[KEY])
        finished = f"{sizes.finished} finished rows"
        yield _compare("looking for work", {_EMPTY: empty[KEY], finished: full[KEY]}, sizes)
        with _snapshot(full[KEY]):
            _come_and_go(full[KEY], model, sizes.churn)
            pinned = f"{sizes.churn} tasks later, under a snapshot"
            yield _compare("looking for work under a snapshot", {_EMPTY: empty[KEY], pinned: full[KEY]}, sizes)
        tidy(full[KEY])
        yield _compare("looking for work after a vacuum", {_EMPTY: empty[KEY], "the same table": full[KEY]}, sizes)


def _compare(title: str, ledgers: dict[str, Ledger], sizes: Sizes) -> Result:
    arms = {name: lambda ledger=ledger: _turn(ledger, sizes.polls) for name, ledger in ledgers.items()}
    values = interleave(arms, sizes.rounds)
    *_, ledger = ledgers.values()
    return Result(title, "ms per look", _EMPTY, values, plans(ledger))


def _turn(ledger: Ledger, count: int) -> float:
    def work() -> None:
        for _ in range(count):
            if backlog.take(ledger):
                raise RuntimeError("there was work: what was measured is something else")

    return milliseconds(work, count)


@contextmanager
def _snapshot(ledger: Ledger) -> Iterator[None]:
    """Somebody else's long transaction: a report, or a dump."""
    with ledger.engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        connection.execute(text("SELECT 1 FROM task_record LIMIT 1"))
        yield


def _come_and_go(ledger: Ledger, model: dict[str, Any], count: int) -> None:
    # All that the rows leave in the index lies in the past, as it does when the snapshot is held for long.
    fill(ledger, model, count, due=-120)
    for values in ("'sent', due_at + interval '60 seconds'", "'done', NULL"):
        with ledger.begin() as connection:
            connection.execute(text(f"UPDATE task_record SET (state, due_at) = ({values}) WHERE due_at IS NOT NULL"))


def plans(ledger: Ledger) -> list[str]:
    """How PostgreSQL finds what is due: planned for these values, and for all values, as a prepared statement may be.

    A line that begins with a warning says that it would read the whole table.
    """
    chosen = _chosen(ledger)
    statement, parameters = _statement(ledger)
    modes = ("force_custom_plan", "force_generic_plan")
    return [chosen, *(_plan(ledger, mode, statement, parameters) for mode in modes)]


def _chosen(ledger: Ledger) -> str:
    """Which of the two the looks of this measure have had."""
    # They have all had the same connection: nobody else uses the pool.
    question = "SELECT sum(custom_plans), sum(generic_plans) FROM pg_prepared_statements WHERE statement LIKE '%batch%'"
    with autocommit(ledger) as connection:
        custom, generic = connection.execute(text(question)).one()
    return f"plans that were used: {custom or 0} custom, {generic or 0} generic"


def _statement(ledger: Ledger) -> tuple[str, dict[str, Any]]:
    """What a look sends to the database."""
    seen: list[tuple[str, dict[str, Any]]] = []

    def note(connection: Any, cursor: Any, statement: str, parameters: Any, *rest: Any) -> None:
        seen.append((statement, parameters))

    event.listen(ledger.engine, "before_cursor_execute", note)
    backlog.take(ledger)
    event.remove(ledger.engine, "before_cursor_execute", note)
    return seen[-1]


def _plan(ledger: Ledger, mode: str, statement: str, parameters: dict[str, Any]) -> str:
    names: list[str] = []

    def number(found: re.Match[str]) -> str:
        names.append(found[1])
        return f"${len(names)}"

    numbered = re.sub(r"%\((\w+)\)s", number, statement)
    places = ", ".join(f"%({name})s" for name in names)
    with autocommit(ledger) as connection:
        raw: Any = connection.connection.driver_connection
        cursor = psycopg.ClientCursor(raw)
        cursor.execute(f"SET plan_cache_mode = {mode}")
        cursor.execute(f"PREPARE look AS {numbered}".encode())
        cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS) EXECUTE look ({places})".encode(), parameters)
        lines = [line for (line,) in cursor.fetchall()]
        cursor.execute("DEALLOCATE look")
        cursor.execute("RESET plan_cache_mode")
    return _essence(mode, lines)


def _essence(mode: str, lines: list[str]) -> str:
    scans = [number for number, line in enumerate(lines) if "due_at" in line and "Scan" in line]
    whole = [line.strip() for line in lines if "Seq Scan" in line]
    if whole or not scans:
        return f"WARNING, {mode} reads the whole table: {whole or lines}"
    buffers = next((line.strip() for line in lines[scans[0] :] if "Buffers" in line), "Buffers: none")
    return f"{mode}: {lines[scans[0]].strip(' ->')}; {buffers}"
