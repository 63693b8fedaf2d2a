"""From the commit to the first line of the task, in a real worker."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from statistics import median
from threading import Thread
from typing import Any

import redis
from sqlalchemy import func, select

from pyramid_celery_tm.app import celery_app
from pyramid_celery_tm.ledger import KEY, Ledger, inbox
from pyramid_celery_tm.relay import Relay
from pyramid_celery_tm.request import open_request
from tests.application import Note, worker

from .measure import Result, Sizes, interleave
from .rows import fill, model_of
from .surroundings import Surroundings, without_ledger
from .tasks import ARGUMENTS, STARTED, tell, tell_plainly

#: Seconds between two looks of a relay: as it comes, and for those who are in a hurry.
_INTERVALS = (1.0, 0.1)
#: Seconds after which a call is taken for one that has to be sent again.
_LATE = 3.0


def run(surroundings: Surroundings, sizes: Sizes) -> Iterator[Result]:
    """A relay alone finds rows whose messages were never sent, and which are due at once."""
    with surroundings.application(relay="false") as registry:
        ledger: Ledger = registry[KEY]
        model = model_of(registry, ledger, tell)
        surroundings.empty_queues()
        registry["engine"].dispose()  # a worker that starts forgets what it takes for its parent's connections
        with worker(), redis.Redis.from_url(surroundings.redis_url, socket_timeout=2 * _LATE) as client:
            plain = "plain Celery, delay() after the commit"
            arms: dict[str, Callable[[], float]] = {
                plain: lambda: _turn(client, sizes.starts, lambda: _after(registry)),
                "without ledger": lambda: _without(registry, client, sizes.starts),
                "with ledger": lambda: _turn(client, sizes.starts, lambda: _inside(registry)),
                **{
                    f"relay alone, looking each {seconds:g} s": _relaying(ledger, model, client, seconds, sizes)
                    for seconds in _INTERVALS
                },
            }
            values = interleave(arms, sizes.rounds)
        notes = _late(ledger)
    yield Result("from commit to start", "ms, median of a turn", plain, values, notes)


def _turn(client: redis.Redis, count: int, call: Callable[[], float]) -> float:
    """The median of some calls, each made when the one before has started."""
    return median(_latency(client, call) for _ in range(count))


def _latency(client: redis.Redis, call: Callable[[], float]) -> float:
    client.delete(STARTED)
    committed = call()
    said: Any = client.blpop([STARTED], timeout=_LATE)
    return _LATE * 1000 if said is None else (float(said[1]) - committed) * 1000


def _late(ledger: Ledger) -> list[str]:
    """What was called, and has not run though its message was with a worker."""
    c = ledger.table.c
    with ledger.begin() as connection:
        count = connection.execute(select(func.count()).where(c.state.in_(inbox.OPEN))).scalar()
    return [f"WARNING: {count} calls have not started: they wait until they are sent again"] if count else []


def _after(registry: Any) -> float:
    with open_request(registry) as request:
        request.tm.begin()
        request.dbsession.add(Note(text="called"))
        committed = time.time()
        request.tm.commit()
        tell_plainly.delay(*ARGUMENTS)
    return committed


def _inside(registry: Any) -> float:
    with open_request(registry) as request:
        request.tm.begin()
        request.dbsession.add(Note(text="called"))
        tell.delay(*ARGUMENTS)
        committed = time.time()
        request.tm.commit()
    return committed


def _without(registry: Any, client: redis.Redis, count: int) -> float:
    with without_ledger(registry):
        return _turn(client, count, lambda: _inside(registry))


def _relaying(
    ledger: Ledger, model: dict[str, Any], client: redis.Redis, seconds: float, sizes: Sizes
) -> Callable[[], float]:
    def call() -> float:
        time.sleep(random.uniform(0, seconds))  # not in step with the relay
        committed = time.time()
        fill(ledger, model, 1, due=0)
        return committed

    def turn() -> float:
        with _relay(ledger, seconds):
            return _turn(client, max(sizes.starts // 4, 1), call)

    return turn


@contextmanager
def _relay(ledger: Ledger, seconds: float) -> Iterator[None]:
    relay = Relay(celery_app, replace(ledger, policy=replace(ledger.policy, relay=True, relay_interval=seconds)))
    thread = Thread(target=relay.run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        relay.stop()
        thread.join()
