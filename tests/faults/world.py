"""Real processes around one database and one broker, and the count of what came of it all."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread

from sqlalchemy import func, select, text

from pyramid_celery_tm import producers
from pyramid_celery_tm.app import apply_settings, celery_app
from pyramid_celery_tm.request import open_request
from tests.faults.app import Base, Effect, Order, Start, TaskRecord, configured
from tests.services import wait_until

ROOT = Path(__file__).parents[2]

#: How much of everything: the long version runs with "make faults".
SCALE = int(os.environ.get("FAULTS", "1"))

#: Small times, so that a test need not wait; and many starts, for it is not the tasks that kill their workers here.
SETTINGS = {
    "tasks.unsent_after": "0.5",
    "tasks.resend_after": "2",
    "tasks.resend_ceiling": "4",
    "tasks.relay_interval": "0.2",
    "tasks.max_starts": "1000",
    "tasks.eta_threshold": "2",
}

#: How workers are started: with two children, and without talking to each other.
WORKER = ("-c", "2", "--without-mingle", "--without-gossip")

INI = """
[app:main]
use = call:tests.faults.app:main
{settings}

[celery]
broker_url = {broker}
result_backend = {results}
imports = tests.faults.app
task_track_started = false

[celery:broker_transport_options]
{options}

[loggers]
keys = root
[handlers]
keys = console
[formatters]
keys = generic
[logger_root]
level = INFO
handlers = console
[handler_console]
class = StreamHandler
args = (sys.stderr,)
level = NOTSET
formatter = generic
[formatter_generic]
format = %(asctime)s %(levelname)s %(name)s %(message)s
"""


class World:
    """A database, a broker, and the processes that meet there.

    :param folder: for the INI file and the logs.
    :param database: URL of an empty database.
    :param broker: URL of the broker.
    :param results: URL of the result backend.
    """

    def __init__(self, folder: Path, database: str, broker: str, results: str) -> None:
        self.folder, self.broker, self.results = folder, broker, results
        self.settings = {**SETTINGS, "sqlalchemy.url": database}
        self.ini = folder / "faults.ini"
        lines = "\n".join(f"{name} = {value}" for name, value in self.settings.items())
        options = "visibility_timeout = 3600" if broker.startswith("redis") else ""
        self.ini.write_text(INI.format(settings=lines, broker=broker, results=results, options=options))
        self.registry = self.configure()
        Base.metadata.create_all(self.registry["engine"])
        self._number = 0

    def configure(self):
        """Make this process a web process of the application."""
        config = configured(**self.settings)
        config.commit()
        values = {"broker_url": self.broker, "result_backend": self.results, "worker_hijack_root_logger": False}
        apply_settings(celery_app, config.registry, "faults.ini", values)
        return config.registry

    def request(self, key, call) -> None:
        """A web request: it saves an order and calls something."""
        with open_request(self.registry) as request, request.tm:
            request.dbsession.add(Order(key=key))
            call(key)

    @contextmanager
    def running(self, *words: str) -> Iterator[subprocess.Popen[bytes]]:
        """A command of ws-celery as a process of its own; killed with its children at the end of the block."""
        process = self.start(*words)
        try:
            yield process
        finally:
            self.kill(process)

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        self._number += 1
        with (self.folder / f"{self._number}-{words[0]}.log").open("wb") as log:
            line = [sys.executable, "-m", "pyramid_celery_tm.scripts.ws_celery", *words, "--ini", str(self.ini)]
            env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore::UserWarning"}
            return subprocess.Popen(line, cwd=self.folder, env=env, stdout=log, stderr=log, start_new_session=True)

    @contextmanager
    def worker(self, *words: str) -> Iterator[None]:
        """A worker whose pool has two children; started again when it ends by itself, as a supervisor does.

        One of Celery's own that loses its broker while it tells it something may end.
        """
        over = Event()

        def supervise() -> None:
            while not over.is_set():
                with self.running("worker", *WORKER, *words) as process:
                    wait_until(lambda: over.is_set() or process.poll() is not None, 3600, "the end")

        supervisor = Thread(target=supervise)
        supervisor.start()
        try:
            yield
        finally:
            over.set()
            supervisor.join()

    @staticmethod
    def kill(process: subprocess.Popen[bytes]) -> None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)

    def close(self) -> None:
        """Close the connections of this process."""
        producers.forget_connection(celery_app)
        celery_app.pool.force_close_all()
        self.registry["engine"].dispose()

    # What came of it

    def keys(self, model) -> Counter[str]:
        with self.registry["engine"].connect() as connection:
            return Counter(connection.execute(select(model.key)).scalars())

    def open(self) -> list[tuple[str, str, str]]:
        """The rows of the ledger that are not closed."""
        c = TaskRecord.__table__.c
        statement = select(c.id, c.name, c.state, c.due_at, c.sends, c.starts, c.error)
        with self.registry["engine"].connect() as connection:
            return list(connection.execute(statement.where(c.state.not_in(["done", "schedule"]))))

    def effects(self) -> Counter[str]:
        return self.keys(Effect)

    def retries(self) -> int:
        """The highest count of retries in the ledger."""
        return self._ask(func.max(TaskRecord.retries))

    def sends(self) -> int:
        """How many messages were sent."""
        return self._ask(func.sum(TaskRecord.sends))

    def _ask(self, what) -> int:
        with self.registry["engine"].connect() as connection:
            return int(connection.execute(select(what)).scalar() or 0)

    def pending(self, keys: Sequence[str], task) -> None:
        """Commit calls and lose their messages."""
        with open_request(self.registry) as request, request.tm:
            for key in keys:
                task.delay(key)
        with celery_app.connection_for_write() as connection:
            celery_app.control.purge(connection=connection)
        with self.registry["engine"].begin() as connection:
            connection.execute(text("update task_record set state = 'pending', sends = 0, due_at = now()"))

    def settle(self, seconds: float = 90) -> None:
        """Wait until every call is done; none may fail."""
        try:
            wait_until(lambda: not self.open(), seconds, "every call to be done", every=0.2)
        except AssertionError as error:
            error.add_note(f"open: {self.open()[:10]}\n{self.logs()}")
            raise

    def logs(self) -> str:
        return "\n".join(
            f"--- {log.name}\n{log.read_text(errors='replace')[-3000:]}" for log in sorted(self.folder.glob("*.log"))
        )

    def verdict(self, what: str, expected: Iterable[str]) -> dict[str, int]:
        """Compare the history with the model, print the counts, and make sure that nothing was lost or doubled."""
        expected = Counter(expected)
        effects, starts = self.keys(Effect), self.keys(Start)
        counts = {
            "called": expected.total(),
            "sent": self.sends(),
            "started": starts.total(),
            "effects": effects.total(),
            "lost": (expected - effects).total(),
            "doubled": (effects - expected).total(),
        }
        print(f"\n{what}: " + ", ".join(f"{name} {number}" for name, number in counts.items()))
        assert counts["lost"] == counts["doubled"] == 0, (counts, expected - effects, effects - expected)
        return counts


def children(pid: int) -> list[int]:
    """The processes that a process has started."""
    with suppress(OSError):
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def kill_some_child(pid: int, chance: random.Random) -> bool:
    """Kill a child of a pool at random; whether there was one."""
    found = children(pid)
    if found:
        with suppress(ProcessLookupError):
            os.kill(chance.choice(found), signal.SIGKILL)
    return bool(found)


def make_due(world: World) -> int:
    """Have the relays send every open call again, now; how many."""
    with world.registry["engine"].begin() as connection:
        statement = "update task_record set due_at = now() where id in (select id from task_record"
        statement += " where due_at is not null and state = 'sent' for update skip locked)"
        return connection.execute(text(statement)).rowcount
