"""A Pyramid project in a folder of its own, whose commands are run as real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import redis
from celery import Celery

from tests.services import wait_until

ROOT = Path(__file__).parents[2]
SCRIPTS = "pyramid_celery_tm.scripts"

INI = """
[app:main]
use = call:tests.functional.apps.commands:{main}
redis.url = {broker}
greeting = hello
{app}

[celery]
BROKER_URL = {broker}
CELERY_RESULT_BACKEND = {broker}
CELERY_IMPORTS = tests.functional.apps.commands
worker_concurrency = 1
{celery}
"""

LOGGING = """
[loggers]
keys = root, celery
[handlers]
keys = console
[formatters]
keys = generic
[logger_root]
level = INFO
handlers = console
[logger_celery]
level = WARNING
handlers =
qualname = celery
[handler_console]
class = StreamHandler
args = (sys.stderr,)
level = NOTSET
formatter = generic
[formatter_generic]
format = INI %(levelname)s %(name)s %(message)s
"""


class Process:
    """A command that runs on, and writes its output into a file."""

    def __init__(self, popen: subprocess.Popen[bytes], log: Path) -> None:
        self.popen, self.log = popen, log

    def output(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def wait_for(self, text: str, seconds: float = 30) -> None:
        """Wait until the output contains a text."""

        def said() -> bool:
            ended = self.popen.poll() is not None
            if text in self.output():
                return True
            assert not ended, f"it ended without saying {text!r}:\n{self.output()}"
            return False

        wait_until(said, seconds, f"{text!r} in the output of {self.popen.args}")

    def end(self, signal_: int = signal.SIGTERM, seconds: float = 60) -> int:
        """Send a signal, and return the exit status.

        A child of Celery's prefork pool that ended a task at that moment may wait 30 s for the message to be noticed.
        """
        self.popen.send_signal(signal_)
        return self.popen.wait(seconds)

    def kill_group(self) -> None:
        """Kill it with its children, as the machine does that runs out of memory."""
        os.killpg(self.popen.pid, signal.SIGKILL)
        self.popen.wait(10)


class Project:
    """A folder with INI files, and a broker.

    :param folder: where the files and the commands' working directory are.
    :param broker: the URL of a Redis.
    """

    def __init__(self, folder: Path, broker: str) -> None:
        self.folder, self.broker = folder, broker

    def write(
        self, name: str = "test.ini", *, main: str = "main", app: str = "", celery: str = "", rest: str = LOGGING
    ) -> str:
        """Write an INI file; returns its name."""
        text = INI.format(main=main, broker=self.broker, app=app, celery=celery)
        (self.folder / name).write_text(text + rest, encoding="utf-8")
        return name

    def run(self, *words: str, command: str = "ws_celery", stdin: str = "", **options: object) -> Ended:
        """Run a command to its end."""
        return subprocess.run(
            self._line(command, words),
            cwd=self.folder,
            env=self._environment(),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            **options,
        )

    def celery(self, *words: str) -> Ended:
        """Run Celery's own command to its end."""
        return self.run(*words, command="celery")

    @contextmanager
    def running(self, *words: str, command: str = "ws_celery") -> Iterator[Process]:
        """Start a command in a process group of its own; what is left of it is killed at the end of the block."""
        log = self.folder / f"{words[0]}-{len(list(self.folder.glob('*.out')))}.out"
        with log.open("wb") as output:
            popen = subprocess.Popen(
                self._line(command, words),
                cwd=self.folder,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        process = Process(popen, log)
        try:
            yield process
        finally:
            if popen.poll() is None:
                process.kill_group()

    @contextmanager
    def worker(self, *words: str, ini: str = "test.ini") -> Iterator[Process]:
        """Start a worker, and wait until it is ready."""
        with self.running("worker", "--ini", ini, "-P", "solo", "--loglevel=info", *words) as process:
            process.wait_for("ready.")
            yield process

    def send(self, task: str, *args: object, **options: object) -> str:
        """Send a task as any other program does; returns its id."""
        with Celery("client", broker=self.broker, set_as_current=False) as client:
            return str(client.send_task(task, args, **options).id)

    def redis(self) -> redis.Redis:
        return redis.Redis.from_url(self.broker)

    def _line(self, command: str, words: Sequence[str]) -> list[str]:
        module = "celery" if command == "celery" else f"{SCRIPTS}.{command}"
        return [sys.executable, "-m", module, *words]

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore::UserWarning"}


Ended = subprocess.CompletedProcess[str]
