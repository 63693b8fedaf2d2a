"""The table: ratios first, then what they are made of, then the machine."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import version

from .measure import Result, Spread

_PARTS = ("celery", "kombu", "sqlalchemy", "psycopg", "redis")


def report(results: Sequence[Result], servers: str) -> str:
    """What was found, as text.

    :param servers: what is to be said of the servers.
    """
    return "\n".join([*_ratios(results), "", *_medians(results), "", *_notes(results), "", machine(), servers])


def machine() -> str:
    """One line on the machine and the parts."""
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    parts = ", ".join(f"{name} {version(name)}" for name in _PARTS)
    python = ".".join(str(number) for number in sys.version_info[:3])
    return f"machine: {os.cpu_count()} x {platform.machine()}, load {load}; Python {python}, {parts}"


def _ratios(results: Sequence[Result]) -> Iterator[str]:
    yield "RATIOS of the same round: median (least to greatest); below 1 is cheaper than what it is compared with"
    for result in results:
        yield f"\n{result.title}, against {result.base}"
        for name, values in result.ratios().items():
            spread = Spread.of(values)
            yield f"  {name:<44} {spread.median:8.2f}   ({spread.least:.2f} to {spread.greatest:.2f})"


def _medians(results: Sequence[Result]) -> Iterator[str]:
    yield "MEDIANS (least to greatest)"
    for result in results:
        yield f"\n{result.title}, {result.unit}, {len(result.values[result.base])} rounds"
        for name, values in result.values.items():
            spread = Spread.of(values)
            figures = f"{_short(spread.median):>8}   ({_short(spread.least)} to {_short(spread.greatest)})"
            yield f"  {name:<44} {figures}"


def _notes(results: Sequence[Result]) -> Iterator[str]:
    for result in results:
        if result.notes:
            yield f"{result.title}:"
            yield from (f"  {note}" for note in result.notes)


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 1000 else f"{value:.3g}"
