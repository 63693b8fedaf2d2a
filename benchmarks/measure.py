"""Rounds in which peers take turns, and what came of them."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

#: Does its work once and says what that cost, in the unit of its measure.
Arm = Callable[[], float]


@dataclass(frozen=True)
class Sizes:
    """How much is done.

    :ivar rounds: how often each peer of a measure takes its turn; for the relay as often as the backlog lasts.
    :ivar calls: how many calls one transaction makes.
    :ivar claims: how many tasks are run in a turn.
    :ivar backlog: how many rows wait for the relay.
    :ivar slice: how many of them it sends in a turn.
    :ivar finished: how many rows are finished while the relay looks for work.
    :ivar churn: how many tasks come and go while somebody holds a snapshot.
    :ivar polls: how many looks make a turn.
    :ivar starts: how many tasks are called in a turn, each when the one before has run.
    :ivar written: for how many tasks bytes are counted.
    :ivar purged: how many rows are deleted in a turn.
    """

    rounds: int
    calls: tuple[int, ...]
    claims: int
    backlog: int
    slice: int
    finished: int
    churn: int
    polls: int
    starts: int
    written: int
    purged: int


FULL = Sizes(
    rounds=15,
    calls=(1, 100, 1000),
    claims=200,
    backlog=100_000,
    slice=2000,
    finished=1_000_000,
    churn=10_000,
    polls=50,
    starts=10,
    written=1000,
    purged=10_000,
)
QUICK = Sizes(
    rounds=5,
    calls=(1, 100, 1000),
    claims=50,
    backlog=6000,
    slice=500,
    finished=50_000,
    churn=2000,
    polls=20,
    starts=3,
    written=200,
    purged=2000,
)
#: Enough to see that a measure works.
TINY = Sizes(
    rounds=2,
    calls=(1, 3),
    claims=2,
    backlog=12,
    slice=3,
    finished=50,
    churn=10,
    polls=2,
    starts=1,
    written=5,
    purged=10,
)


@dataclass
class Result:
    """What one measure has found.

    :ivar title: what was measured.
    :ivar unit: of its values; less is better.
    :ivar base: the peer that the others are compared with.
    :ivar values: of each peer, one for each round.
    :ivar notes: what no number says.
    """

    title: str
    unit: str
    base: str
    values: dict[str, list[float]]
    notes: list[str] = field(default_factory=list)

    def ratios(self) -> dict[str, list[float]]:
        """How many times as much as the base each other peer has cost, in each round."""
        base = self.values[self.base]
        peers = {name: values for name, values in self.values.items() if name != self.base}
        return {name: [one / other for one, other in zip(values, base, strict=True)] for name, values in peers.items()}


def interleave(arms: Mapping[str, Arm], rounds: int) -> dict[str, list[float]]:
    """Let peers take turns, another one first in each round, after a turn of each that does not count."""
    for arm in arms.values():
        arm()
    names = list(arms)
    values: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            gc.collect()
            values[name].append(arms[name]())
    return values


def milliseconds(work: Callable[[], object], count: int = 1) -> float:
    """How long it takes, divided by how many things it does."""
    started = time.perf_counter()
    work()
    return (time.perf_counter() - started) * 1000 / count


@dataclass(frozen=True)
class Spread:
    """What is told of many values: their median, the least and the greatest."""

    median: float
    least: float
    greatest: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """The spread of some values."""
        return cls(median(values), min(values), max(values))
