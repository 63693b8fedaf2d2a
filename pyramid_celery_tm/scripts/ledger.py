"""``ws-celery ledger``: what became of the calls, and failed ones sent again."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import update_wrapper
from typing import Any

import click
from celery import Celery
from sqlalchemy.exc import InterfaceError, OperationalError

from ..exceptions import NotConfigured
from ..ledger import KEY, Ledger, backlog, history, utcnow

NO_LEDGER = (
    "the application has no ledger: call config.configure_ledger(model, engine) in its main, with a model that is a"
    " child of pyramid_celery_tm.LedgerMixin"
)
HINT = "ws-celery ledger show ID tells more, ws-celery ledger resend ID sends it again"
#: Text that is longer is cut in tables.
WIDEST = 80
#: How many calls are listed unless somebody says otherwise.
MOST = 50

_json = click.option("-j", "--json", "as_json", is_flag=True, help="Print JSON.")
_limit = click.option("-n", "--limit", type=click.IntRange(1), default=MOST, show_default=True, help="Not more calls.")
_name = click.option("--name", metavar="TASK", help="Calls of this task only.")


def find_ledger(app: Celery) -> Ledger:
    """The ledger of the app's application.

    :raises pyramid_celery_tm.exceptions.NotConfigured: there is none, or its table is missing.
    :raises sqlalchemy.exc.SQLAlchemyError: the database does not answer.
    """
    found: Ledger | None = app.conf["PYRAMID_REGISTRY"].get(KEY)
    if found is None:
        raise NotConfigured(NO_LEDGER)
    if not found.is_there():
        raise NotConfigured(
            f"the table {found.table.fullname} is not in the database: run the migrations (alembic upgrade head)"
        )
    return found


@contextmanager
def database_errors() -> Iterator[None]:
    """Tell in one line that the database does not answer.

    :raises click.ClickException: this line.
    """
    try:
        yield
    except (InterfaceError, OperationalError) as error:
        reason = str(error.orig).strip().partition("\n")[0]
        raise click.ClickException(f"the database does not answer: {reason}") from error


def _with_ledger(function: Callable[..., None]) -> Callable[..., None]:
    # Not a matter of the group's: it would ask for the ledger before a subcommand could print its help.
    @click.pass_context
    def run(ctx: click.Context, /, **options: Any) -> None:
        with database_errors():
            function(find_ledger(ctx.obj.app), **options)

    return update_wrapper(run, function)


@click.group("ledger")
def ledger() -> None:
    """See what became of calls, and send failed ones again."""


@ledger.command("status")
@_json
@_with_ledger
def status(kept: Ledger, /, *, as_json: bool) -> None:
    """Count the calls in each state, and show the oldest that is not finished."""
    counts, oldest = history.counts(kept), history.oldest_open(kept)
    age = None if oldest is None else round((utcnow() - oldest.since).total_seconds(), 1)
    if as_json:
        found = None if oldest is None else {**dataclasses.asdict(oldest), "age": age}
        _print_json({"counts": counts, "oldest_open": found})
        return
    click.echo(table(("state", "calls"), list(counts.items())))
    if oldest is None:
        click.echo("No call is open.")
    else:
        call = f"{oldest.name}[{oldest.id}], {oldest.state}"
        click.echo(f"Oldest open: {call}, since {_time(oldest.since)} UTC, {age} s ago.")


@ledger.command("failed")
@_name
@_limit
@_json
@_with_ledger
def failed(kept: Ledger, /, *, name: str | None, limit: int, as_json: bool) -> None:
    """List the calls that failed for good, the newest first."""
    calls = history.list_failed(kept, limit, name)
    rows = [(call.id, call.name, _time(call.finished_at), call.starts, call.error) for call in calls]
    _print_calls(calls, ("id", "name", "failed (UTC)", "starts", "error"), rows, as_json=as_json)
    if calls and not as_json:
        click.echo(HINT)


@ledger.command("open")
@_name
@_limit
@_json
@_with_ledger
def open_(kept: Ledger, /, *, name: str | None, limit: int, as_json: bool) -> None:
    """List the calls that are not finished, the oldest first."""
    calls = history.list_open(kept, limit, name)
    rows = [(c.id, c.name, _time(c.created_at), c.starts, c.sends, c.state, _time(c.eta)) for c in calls]
    headings = ("id", "name", "called (UTC)", "starts", "sends", "state", "not before")
    _print_calls(calls, headings, rows, as_json=as_json)


@ledger.command("show")
@click.argument("call_id", metavar="ID")
@_json
@_with_ledger
def show(kept: Ledger, /, *, call_id: str, as_json: bool) -> None:
    """Show all that is known of one call: its arguments, its error, its traceback."""
    row = history.show(kept, call_id)
    if row is None:
        raise click.ClickException(f"{call_id}: the ledger has no such call")
    known = {**row, "arguments": arguments(row["message"])}
    if as_json:
        _print_json(known)
    else:
        click.echo(describe(known))


@ledger.command("resend")
@click.argument("ids", metavar="[ID]...", nargs=-1)
@click.option("--all-failed", is_flag=True, help="All calls that failed, in the place of ids.")
@_name
@_with_ledger
def resend(kept: Ledger, /, *, ids: Sequence[str], all_failed: bool, name: str | None) -> None:
    """Send calls again that failed or were revoked, once their cause is mended.

    A relay, in a worker or of its own, sends them. Retries stay counted.
    """
    if bool(ids) == all_failed or (name and not all_failed):
        raise click.UsageError("name the ids of calls; or --all-failed, with --name TASK for those of one task")
    if all_failed:
        number = history.resend_failed(kept, name)
        problems = history.why_not(kept, [call.id for call in history.list_failed(kept, MOST, name)])
    else:
        problems = history.resend(kept, ids)
        number = len(set(ids)) - len(problems)
    click.echo(f"Calls that wait for a relay to send them: {number}")
    for call_id, problem in problems.items():
        click.echo(f"{call_id}: {problem}", err=True)
    if problems and ids:
        raise click.exceptions.Exit(1)


@ledger.command("purge")
@click.option("--older-than", type=click.FloatRange(0), metavar="SECONDS", help="In the place of the settings.")
@_with_ledger
def purge(kept: Ledger, /, *, older_than: float | None) -> None:
    """Delete calls that are finished for longer than tasks.keep_done and tasks.keep_failed allow, as relays do."""
    if older_than is not None:
        policy = dataclasses.replace(kept.policy, keep_done=older_than, keep_failed=older_than)
        kept = dataclasses.replace(kept, policy=policy)
    number = bite = backlog.purge(kept)
    while bite == backlog.BITE:
        bite = backlog.purge(kept)
        number += bite
    click.echo(f"Calls deleted: {number}")


def table(headings: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Rows as text under a line of headings, numbers to the right; ``-`` is what is not there."""
    cells = [headings, *([_cell(value) for value in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    numeric = [all(isinstance(value, int) for value in column) for column in zip(*rows, strict=True)]
    return "\n".join(_line(row, widths, numeric or [False] * len(widths)) for row in cells)


def describe(known: Mapping[str, Any]) -> str:
    """A row as text, a column per line; the traceback at the end, as Python prints it."""
    plain = {name: value for name, value in known.items() if name not in ("message", "traceback")}
    lines = [f"{name + ':':<13}{'-' if value is None else value}" for name, value in plain.items()]
    return "\n".join([*lines, *((known["traceback"] or "").splitlines())])


def arguments(message: str | None) -> str | None:
    """What a call was made with, as the log shows it; ``None`` where the ledger does not know."""
    packed = None if message is None else json.loads(message)
    if not isinstance(packed, dict) or "headers" not in packed:  # a chord's
        return None
    return "args={argsrepr} kwargs={kwargsrepr}".format_map(packed["headers"])


def _print_calls(
    calls: Sequence[history.Call], headings: Sequence[str], rows: Sequence[Sequence[Any]], *, as_json: bool
) -> None:
    if as_json:
        _print_json([dataclasses.asdict(call) for call in calls])
    else:
        click.echo(table(headings, rows))


def _print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, default=datetime.isoformat))


def _time(value: datetime | None) -> str | None:
    return None if value is None else f"{value:%Y-%m-%d %H:%M:%S}"


def _cell(value: Any) -> str:
    text = "-" if value is None else " ".join(str(value).split())
    return text if len(text) <= WIDEST else f"{text[: WIDEST - 3]}..."


def _line(row: Sequence[str], widths: Sequence[int], numeric: Sequence[bool]) -> str:
    cells = zip(row, widths, numeric, strict=True)
    return "  ".join(cell.rjust(width) if right else cell.ljust(width) for cell, width, right in cells).rstrip()
