"""Tasks run by the code that runs them in a worker, without the worker: no broker and no pool are in the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from celery import Task
from celery.app.trace import build_tracer
from sqlalchemy import func, select

from pyramid_celery_tm.app import celery_app
from pyramid_celery_tm.ledger import KEY, Ledger, State
from pyramid_celery_tm.record import HEADER

from .measure import Result, Sizes, interleave, milliseconds
from .rows import fill_open, model_of
from .surroundings import Surroundings, without_ledger
from .tasks import ARGUMENTS, write, write_and_return, write_by_hand


def run(surroundings: Surroundings, sizes: Sizes) -> Iterator[Result]:
    """Each task writes one row and commits."""
    with surroundings.application() as registry:
        arms = {
            "hand-written session": lambda: _turn(registry, write_by_hand, sizes.claims),
            "without ledger": lambda: _without(registry, write, sizes.claims),
            "with ledger": lambda: _turn(registry, write, sizes.claims),
            "with ledger, and a result to keep": lambda: _turn(registry, write_and_return, sizes.claims),
        }
        values = interleave(arms, sizes.rounds)
        _check(registry[KEY], 2 * sizes.claims * (sizes.rounds + 1))
    yield Result("running a task", "ms per task", "without ledger", values)


def _without(registry: Any, task: Task, count: int) -> float:
    with without_ledger(registry):
        return _turn(registry, task, count)


def _turn(registry: Any, task: Task, count: int) -> float:
    trace, requests = prepare(registry, task, count)

    def work() -> None:
        for request in requests:
            trace(request["id"], ARGUMENTS, {}, request)

    return milliseconds(work, count)


def prepare(registry: Any, task: Task, count: int) -> tuple[Callable[..., object], Sequence[dict[str, Any]]]:
    """What runs a task in a worker, and the requests that it is given; with a row for each, where there is a ledger."""
    trace = build_tracer(task.name, task, app=celery_app)
    ledger = registry.get(KEY)
    if ledger is None or task is write_by_hand:
        return trace, [_request(task, str(number)) for number in range(count)]
    model = model_of(registry, ledger, task)
    return trace, [{**_request(task, task_id), HEADER: 1} for task_id in fill_open(ledger, model, count)]


def _request(task: Task, task_id: str) -> dict[str, Any]:
    empty = ("callbacks", "errbacks", "chain", "chord", "group", "parent_id", "eta", "expires", "reply_to")
    return {
        **dict.fromkeys(empty),
        "id": task_id,
        "task": task.name,
        "root_id": task_id,
        "correlation_id": task_id,
        "hostname": "worker@localhost",
        "retries": 0,
        "ignore_result": True,
        "is_eager": False,
        "delivery_info": {"exchange": "", "routing_key": "celery", "priority": 0, "redelivered": False},
    }


def _check(ledger: Ledger, expected: int) -> None:
    c = ledger.table.c
    with ledger.begin() as connection:
        done = connection.execute(select(func.count()).where(c.state == State.DONE, c.starts == 1)).scalar()
    if done != expected:
        raise RuntimeError(f"{done} tasks were claimed and done, not {expected}: what was measured is something else")
