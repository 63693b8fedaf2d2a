"""Deleting what is old: bites of several sizes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from pyramid_celery_tm.ledger import KEY, Ledger, backlog

from .measure import Result, Sizes, interleave, milliseconds
from .rows import fill_finished, model_of
from .surroundings import Surroundings, tidy
from .tasks import write

_BITES = (100, backlog.BITE, 10 * backlog.BITE)
_MONTH = 30 * 86400


def run(surroundings: Surroundings, sizes: Sizes) -> Iterator[Result]:
    """Each turn deletes so many rows, beside as many as are kept."""
    with surroundings.application() as registry:
        ledger: Ledger = registry[KEY]
        model = model_of(registry, ledger, write)
        rows = sizes.purged * len(_BITES) * (sizes.rounds + 1)
        fill_finished(ledger, model, rows)
        fill_finished(ledger, model, rows, age=_MONTH)
        tidy(ledger)
        arms = {_name(bite): _purging(ledger, bite, sizes.purged) for bite in _BITES}
        values = interleave(arms, sizes.rounds)
    yield Result("purging", "ms per row", _name(backlog.BITE), values)


def _name(bite: int) -> str:
    return f"{bite} rows in a bite" + (", as it comes" if bite == backlog.BITE else "")


def _purging(ledger: Ledger, bite: int, count: int) -> Callable[[], float]:
    bite = min(bite, count)

    def work() -> None:
        for _ in range(count // bite):
            _bite(ledger, bite)

    return lambda: milliseconds(work, count // bite * bite)


def _bite(ledger: Ledger, bite: int) -> Any:
    if backlog.purge(ledger, bite) != bite:
        raise RuntimeError("too little was deleted: what was measured is something else")
