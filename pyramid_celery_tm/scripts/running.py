"""How ``ws-celery`` runs a command: the words sorted, the application loaded, Celery given the rest."""

from __future__ import annotations

import copy
import os
import shlex
import sys
from collections.abc import Sequence
from typing import Any

import click
from celery.bin.celery import celery
from celery.platforms import EX_FAILURE, EX_OK
from celery.signals import worker_shutdown, worker_shutting_down
from celery.utils.log import LOG_LEVELS

from ..app import LEDGER_SCHEDULER, celery_app
from ..exceptions import NotConfigured
from ..startup import MISSING_INI, WITHOUT_APPLICATION, parse_variables, start
from . import ledger, purge, queues, relay
from .argv import CommandLine, normalise

#: As in Celery 4: two beats started by accident in one place would send every tick twice.
BEAT_PIDFILE = "celerybeat.pid"


def run(argv: Sequence[str]) -> None:
    """Run a command of ``ws-celery``; ends the process.

    :param argv: the words behind the name of the program.
    :raises TaskSystemError: the command line or the INI file is faulty.
    """
    group = commands()
    line = normalise(argv, group)
    if line.workdir:
        os.chdir(line.workdir)
    if needs_application(line):
        if line.ini is None:
            raise NotConfigured(MISSING_INI)
        start(line.ini, parse_variables(line.variables), LOG_LEVELS.get(line.given.get("loglevel", "").upper()))
    # Celery reads this again where it starts other processes: multi, --detach, and a restart by SIGHUP.
    sys.argv[1:] = for_other_processes(line)
    exit_zero_after_warm_shutdown()
    group.main([*line.before, *line.after, *defaults(line)], prog_name="ws-celery", auto_envvar_prefix="CELERY")


def commands() -> click.Group:
    """Celery's group of subcommands, with ours; Celery's own stays as it is."""
    group: click.Group = copy.copy(celery)
    own = (ledger.ledger, purge.command, queues.queues, relay.relay)
    group.commands = {**celery.commands, **{command.name or "": command for command in own}}
    return group


def needs_application(line: CommandLine) -> bool:
    """Whether the command has to load the application: not to print help, nor to work on files and processes."""
    if line.command is None or not {"help", "version"}.isdisjoint(line.given):
        return False
    return line.command not in WITHOUT_APPLICATION


def defaults(line: CommandLine) -> list[str]:
    """What ws-celery adds to a command line: a pidfile for beat, unless there may be more than one of it.

    ``--pidfile=`` goes without.
    """
    if line.command != "beat" or "pidfile" in line.given or not needs_application(line):
        return []
    several = celery_app.conf.beat_scheduler == LEDGER_SCHEDULER and "scheduler" not in line.given
    return [] if several or celery_app.conf.get("beat_pidfile") else ["--pidfile", BEAT_PIDFILE]


def for_other_processes(line: CommandLine) -> list[str]:
    """The command line for a process that has yet to load the application.

    ``multi`` takes a word without a dash for the name of a worker, and its workers' lines go through a shell's rules.
    """
    own = {"--ini": line.ini, "--ini-var": line.variables}
    quote = shlex.quote if line.command == "multi" else str
    options = [f"{name}={quote(value)}" for name, value in own.items() if value is not None]
    end = line.after.index("--") if "--" in line.after else len(line.after)
    return [*line.before, *line.after[:end], *options, *line.after[end:]]


def exit_zero_after_warm_shutdown() -> None:
    """Let a worker that was asked to stop by CTRL+C, and did so in peace, exit with 0 as it does after SIGTERM.

    Celery exits with 1, which supervisors take for a crash. A second CTRL+C is a cold shutdown, and stays a failure.
    """
    kinds = set()

    def note(how: str, **_: Any) -> None:
        kinds.add(how)

    def forgive(sender: Any, **_: Any) -> None:
        if kinds == {"Warm"} and sender.exitcode == EX_FAILURE:
            sender.exitcode = EX_OK

    worker_shutting_down.connect(note, weak=False)
    worker_shutdown.connect(forgive, weak=False)
