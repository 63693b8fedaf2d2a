"""``ws-celery relay``: sends what is left over in the ledger, in a process of its own."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from threading import Thread
from typing import Any

import click
from celery.bin.base import LOG_LEVEL

from ..relay import Relay
from .ledger import database_errors, find_ledger


@click.command("relay")
@click.option("--once", is_flag=True, help="Send what is due, print how many, and exit.")
@click.option("-l", "--loglevel", type=LOG_LEVEL, default="WARNING", show_default=True, help="Logging level.")
@click.option("-f", "--logfile", help="Log file; standard error by default.")
@click.pass_context
def relay(ctx: click.Context, /, *, once: bool, loglevel: int, logfile: str | None) -> None:
    """Send calls that did not reach the broker, or were sent and never finished, until CTRL+C or SIGTERM.

    Each worker does the same unless tasks.relay is false. Any number of relays share the work.
    """
    app = ctx.obj.app
    app.log.setup_logging_subsystem(loglevel, logfile)
    with database_errors():
        ledger = find_ledger(app)
    # The setting keeps workers from running one; who types this command wants one.
    one = Relay(app, replace(ledger, policy=replace(ledger.policy, relay=True)))
    if once:
        with database_errors():
            click.echo(f"Calls sent: {one.send_due()}")
    else:
        with _stopped_by_signals(one):
            click.echo(f"The relay of {ledger.table.name} runs until CTRL+C or SIGTERM.")
            _run(one)


def _run(one: Relay) -> None:
    # In a thread: where the handler of a signal interrupts what waits for an event, the event's lock may be held.
    thread = Thread(target=one.run, name="relay", daemon=True)
    thread.start()
    while thread.is_alive():
        # A signal may be given to the other thread, and then this one has to wake up to handle it.
        thread.join(0.2)


@contextmanager
def _stopped_by_signals(one: Relay) -> Iterator[None]:
    before: dict[int, Any] = {}

    def put_back() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def stop(number: int, frame: object) -> None:
        put_back()  # a second signal ends it at once
        one.stop()

    for number in (signal.SIGINT, signal.SIGTERM):
        before[number] = signal.signal(number, stop)
    try:
        yield
    finally:
        put_back()
