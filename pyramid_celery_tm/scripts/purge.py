"""``ws-celery purge``: Celery's, and ``--unacked`` for what killed workers have left behind."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import click
from celery import Celery
from celery.bin.base import CeleryCommand, CeleryOption
from celery.bin.purge import purge as celery_purge

from ..inspector import connect, task_ids_in_workers
from ..ledger import backlog
from ..record import ledger_of
from ..unacked import drop, is_supported, unacked_messages
from .ledger import database_errors


def purge(ctx: click.Context, /, *, unacked: bool, **options: Any) -> None:
    """Celery's purge, then the un-acked messages of the same queues where they are wanted, too.

    With a ledger their calls are revoked: otherwise a relay would send them again.
    """
    app = ctx.obj.app
    ctx.invoke(celery_purge, **options)
    names = set(options["queues"] or app.amqp.queues) - set(options["exclude_queues"] or ())
    if unacked:
        purge_unacked(app, names)
    kept = ledger_of(app)
    if kept is not None:
        with database_errors():
            click.echo(f"Revoked {backlog.forget(kept, names)} calls in the ledger.")


def purge_unacked(app: Celery, queues: Collection[str]) -> None:
    """Drop what was taken from these queues and never acknowledged, unless a live worker says that it holds it."""
    with connect(app) as connection:
        channel: Any = connection.default_channel
        if not is_supported(channel):
            raise click.ClickException(
                f"--unacked is for Redis; a {connection.transport.driver_type} broker puts the messages of a dead"
                " worker back into the queue by itself, where purge finds them"
            )
        messages = [message for message in unacked_messages(app, channel) if message.queue in queues]
        held = task_ids_in_workers(app, connection)
        leftovers = [message for message in messages if message.task_id not in held]
        click.echo(f"Purged {drop(channel, leftovers)} un-acked left by workers that are gone.")
        if len(leftovers) < len(messages):
            click.echo(f"Kept {len(messages) - len(leftovers)} un-acked that running workers hold.")


command = CeleryCommand(
    "purge",
    callback=click.pass_context(purge),
    help=celery_purge.help,
    context_settings=celery_purge.context_settings,
    params=[
        *celery_purge.params,
        CeleryOption(
            ["--unacked"],
            is_flag=True,
            help_group="Purging Options",
            help="Drop un-acked messages of killed workers, too (Redis).",
        ),
    ],
)
