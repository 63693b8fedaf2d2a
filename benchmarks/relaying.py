"""A backlog that a relay sends, as after a night without a broker."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from statistics import median

from pyramid_celery_tm.app import celery_app
from pyramid_celery_tm.ledger import KEY, Ledger, backlog
from pyramid_celery_tm.relay import Relay

from .measure import Result, Sizes, interleave, milliseconds
from .rows import fill, model_of
from .surroundings import Surroundings, tidy
from .tasks import ARGUMENTS, write, write_by_hand

#: How many rows the relay may take at a time.
_BATCHES = (100, 500)


def run(surroundings: Surroundings, sizes: Sizes) -> Iterator[Result]:
    """The relays share one backlog; plain Celery calls as many tasks."""
    with surroundings.application() as registry:
        ledger = registry[KEY]
        fill(ledger, model_of(registry, ledger, write), sizes.backlog, due=-60)
        tidy(ledger)
        plain = "plain Celery, delay()"
        arms: dict[str, Callable[[], float]] = {
            plain: lambda: _plain(surroundings, sizes.slice),
            **{
                f"relay, {size} rows at a time": _relaying(surroundings, ledger, size, sizes.slice) for size in _BATCHES
            },
        }
        rounds = sizes.backlog // (sizes.slice * len(_BATCHES)) - 1  # one turn does not count
        values = interleave(arms, rounds)
    result = Result(f"relaying a backlog of {sizes.backlog} rows", "ms per row", plain, values)
    result.notes += [_note(name, ratios, values[name]) for name, ratios in result.ratios().items()]
    yield result


def _plain(surroundings: Surroundings, count: int) -> float:
    surroundings.empty_queues()
    return milliseconds(lambda: [write_by_hand.delay(*ARGUMENTS) for _ in range(count)], count)


def _relaying(surroundings: Surroundings, ledger: Ledger, size: int, count: int) -> Callable[[], float]:
    size = min(size, count)  # a turn has to be a whole number of batches
    ledger = replace(ledger, policy=replace(ledger.policy, relay_batch=size))
    relay = Relay(celery_app, ledger)

    def work() -> None:
        for _ in range(count // size):  # what send_due does until nothing is left
            if relay._send(backlog.take(ledger)) < size:
                raise RuntimeError("the backlog ended before the measure did")

    def turn() -> float:
        surroundings.empty_queues()
        return milliseconds(work, count // size * size)

    return turn


def _note(name: str, ratios: list[float], turns: list[float]) -> str:
    part = max(len(turns) // 4, 1)
    first, last = median(ratios[:part]), median(ratios[-part:])
    rate = f"{1000 / median(turns):.0f} rows a second"
    return f"{name}: {rate}; ratio {first:.2f} in the first quarter of the backlog, {last:.2f} in the last"
