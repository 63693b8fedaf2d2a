"""``ws-celery queues``: what waits in the queues, and what the workers are at."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence

import click

from ..inspector import QueueStatus
from ..inspector import queues as inspect_queues

NO_REPLY = "no workers replied: ETA and active are unknown"
HEADINGS = ("queue", "waiting", "un-acked", "ETA", "active")


@click.command("queues")
@click.option("-t", "--timeout", type=float, default=1.0, show_default=True, help="Seconds to wait for workers.")
@click.option("-j", "--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def queues(ctx: click.Context, /, *, timeout: float, as_json: bool) -> None:
    """Show how many tasks wait, are un-acked, have an ETA and are active, per queue."""
    statuses = inspect_queues(ctx.obj.app, timeout)
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(status) for status in statuses], indent=2))
    else:
        click.echo(table(statuses))
    if any(status.active is None for status in statuses):
        click.echo(NO_REPLY, err=as_json)


def table(statuses: Sequence[QueueStatus]) -> str:
    """The rows as text, under a line of headings; ``-`` is a number that nobody could tell."""
    rows = [HEADINGS, *(tuple("-" if v is None else str(v) for v in dataclasses.astuple(s)) for s in statuses)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(_line(row, widths) for row in rows)


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    numbers = (cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
    return "  ".join([row[0].ljust(widths[0]), *numbers])
