"""Calls in the transaction of a request, from its begin to the moment when the answer may leave."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from pyramid_celery_tm.request import open_request
from tests.application import Note

from .measure import Result, Sizes, interleave, milliseconds
from .surroundings import Surroundings, without_ledger
from .tasks import ARGUMENTS, write, write_by_hand

#: A turn has about so many calls, in one transaction or many.
_CALLS_PER_TURN = 20


def run(surroundings: Surroundings, sizes: Sizes) -> Iterator[Result]:
    """A row is written and tasks are called; plain Celery calls them when the row is committed."""
    with surroundings.application() as registry:
        for calls in sizes.calls:
            yield _compare(registry, surroundings, calls, sizes.rounds)


def _compare(registry: Any, surroundings: Surroundings, calls: int, rounds: int) -> Result:
    arms = {
        "without ledger": lambda: _without(registry, surroundings, calls),
        "with ledger": lambda: _turn(registry, surroundings, _inside, calls),
        "plain Celery, delay() after the commit": lambda: _turn(registry, surroundings, _after, calls),
    }
    title = f"deferring {calls} call{'s' if calls > 1 else ''} in a transaction"
    return Result(title, "ms per call", "without ledger", interleave(arms, rounds))


def _without(registry: Any, surroundings: Surroundings, calls: int) -> float:
    with without_ledger(registry):
        return _turn(registry, surroundings, _inside, calls)


def _turn(registry: Any, surroundings: Surroundings, transaction: Callable[[Any, int], object], calls: int) -> float:
    surroundings.empty_queues()
    times = max(_CALLS_PER_TURN // calls, 1)

    def work() -> None:
        for _ in range(times):
            with open_request(registry) as request:
                transaction(request, calls)

    return milliseconds(work, calls * times)


def _inside(request: Any, calls: int) -> None:
    with request.tm:
        request.dbsession.add(Note(text="called"))
        for _ in range(calls):
            write.delay(*ARGUMENTS)


def _after(request: Any, calls: int) -> None:
    with request.tm:
        request.dbsession.add(Note(text="called"))
    for _ in range(calls):
        write_by_hand.delay(*ARGUMENTS)
