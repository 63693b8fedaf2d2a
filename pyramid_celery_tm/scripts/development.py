"""What ``ws-run`` runs: the web server, a worker and beat of one INI file, and a Redis where none answers."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import plaster

from ..exceptions import NotConfigured, SettingsError
from ..ini import read_sections
from ..redis import SETTING
from ..settings import celery_settings
from .broker import Server, find_binary, wanted_servers
from .console import Console, Over, Program
from .reload import command

#: What is written goes there, beside the INI file: beat's schedule.
DIRECTORY = ".run"
#: Seconds that a Redis of ours may take to answer.
STARTING = 10.0


@dataclass(frozen=True)
class Project:
    """What is developed.

    :param ini: path or plaster URI of the INI file.
    :param variables: variables for the file.
    """

    ini: str
    variables: Mapping[str, str]

    @property
    def path(self) -> Path:
        """The INI file."""
        return Path(plaster.parse_uri(self.ini).path).absolute()

    @property
    def directory(self) -> Path:
        """Where the programs may leave what they need until the next start."""
        return self.path.parent / DIRECTORY

    def celery_values(self) -> dict[str, Any]:
        """Celery's settings.

        :raises pyramid_celery_tm.exceptions.SettingsError: all faults of the file at once.
        """
        sections = read_sections(self.ini, self.variables)
        if "celery" not in sections:
            raise SettingsError(self.ini, ["[celery]: the section is missing; it needs at least broker_url"])
        settings = celery_settings(sections)
        if settings.faults:
            raise SettingsError(self.ini, settings.faults)
        return settings.values

    def redis_url(self) -> str | None:
        """The setting ``redis.url``, as it is written: loading the application is the matter of the programs."""
        loader = plaster.get_loader(self.ini, protocols=["wsgi"])
        section = f"app:{loader.uri.fragment or 'main'}"
        url: str | None = loader.get_settings(section, dict(self.variables)).get(SETTING)
        return url

    def programs(self, schedule: str | None) -> Iterator[Program]:
        """Web server, worker and, where there is a file for its schedule, beat."""
        pairs = [f"{name}={value}" for name, value in self.variables.items()]
        options = ["--ini", self.ini, *(["--ini-var", ",".join(pairs)] if pairs else [])]
        celery = "pyramid_celery_tm.scripts.ws_celery:main"
        yield Program("web", command("pyramid.scripts.pserve:main", "pserve", self.ini, *pairs))
        yield Program("worker", command(celery, "ws-celery", "worker", *options))
        if schedule is not None:
            # No pidfile: after a hard end the number in it may be somebody else's, and beat would refuse to start.
            beat = ["beat", *options, "--schedule", schedule, "--pidfile="]
            yield Program("beat", command(celery, "ws-celery", *beat))


def run(project: Project, *, beat: bool, reload: bool) -> int:
    """Run it all until the end; return the exit status.

    :raises pyramid_celery_tm.exceptions.TaskSystemError: the INI file is faulty, or there is no Redis to start.
    """
    values = project.celery_values()
    servers = wanted_servers(values, project.redis_url())
    project.directory.mkdir(exist_ok=True)
    schedule = values.get("beat_schedule_filename") or str(project.directory / "celerybeat-schedule")
    try:
        with Console(sys.stdout, {**os.environ, "PYTHONUNBUFFERED": "1"}, reload=reload) as console:
            for number, server in enumerate(servers, 1):
                provide(console, server, f"redis-{number}" if number > 1 else "redis", project.directory)
            for program in project.programs(schedule if beat else None):
                console.start(program)
            console.watch(str(project.path))
            console.run()
    except Over as over:
        return over.status


def provide(console: Console, server: Server, name: str, directory: Path) -> None:
    """See to it that a server answers, as far as that is possible here, and say so in one line."""
    address, names = server.address, ", ".join(server.settings)
    if address.is_taken():
        console.say(f"uses the server that runs at {address} ({names})")
    elif not server.can_start:
        remedy = "only a plain Redis can be started here" if address.is_local else "it is on another machine"
        console.say(f"nothing answers at {address} ({names}), and {remedy}: start it yourself")
    else:
        _start_server(console, server, name, directory)
        console.say(f"started a Redis at {address} ({names}) that keeps everything in memory")


def _start_server(console: Console, server: Server, name: str, directory: Path) -> None:
    configuration = server.configuration(str(directory))
    console.start(Program(name, [find_binary(), "-"], configuration, serves=True))
    if not console.wait_for(server.address.is_taken, STARTING):
        raise NotConfigured(f"the Redis at {server.address} does not answer {STARTING:g} seconds after its start")
