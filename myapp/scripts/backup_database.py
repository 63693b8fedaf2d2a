"""What ``backup.bash`` leaves to Python: reading the URL of the database, copying SQLite, keeping a record.

::

    python -m myapp.scripts.backup_database kind|environment|copy FILE|record FILE

The URL is taken from the variable ``MAIN_SQLALCHEMY_URL``; as an argument everybody on the machine could read it.
"""

from __future__ import annotations

import gzip
import os
import shutil
import socket
import sqlite3
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

from sqlalchemy import URL, make_url
from sqlalchemy.orm import Session

from ..models import Backup, get_engine

LIBPQ = {
    "application_name": "PGAPPNAME",
    "connect_timeout": "PGCONNECT_TIMEOUT",
    "host": "PGHOST",
    "options": "PGOPTIONS",
    "passfile": "PGPASSFILE",
    "port": "PGPORT",
    "service": "PGSERVICE",
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
    "sslmode": "PGSSLMODE",
    "sslrootcert": "PGSSLROOTCERT",
}
"""What may follow the question mark of the URL, and what pg_dump calls it."""


class BackupError(Exception):
    """The database cannot be copied; the message says why."""


def libpq_environment(url: URL) -> dict[str, str]:
    """Say in pg_dump's words where the database is.

    :param url: of a PostgreSQL database.
    :return: environment variables.
    :raises BackupError: an option that pg_dump would not be told of, or a value that is more than one line.
    """
    unknown = sorted(set(url.query) - set(LIBPQ))
    if unknown:
        raise BackupError(f"sqlalchemy.url has the option {unknown[0]}: allowed are {', '.join(LIBPQ)}")
    parts = {"PGHOST": url.host, "PGPORT": url.port, "PGUSER": url.username, "PGPASSWORD": url.password}
    # an option that is given twice, such as several hosts, is a list for libpq
    options = {LIBPQ[name]: value if isinstance(value, str) else ",".join(value) for name, value in url.query.items()}
    given = {"PGCONNECT_TIMEOUT": "10", **parts, "PGDATABASE": url.database, **options}
    environment = {name: str(value) for name, value in given.items() if value is not None}
    if any("\n" in value for value in environment.values()):
        raise BackupError("sqlalchemy.url has a value of more than one line")
    return environment


def copy_sqlite(url: URL, target: Path) -> None:
    """Copy a SQLite database while others may write to it.

    :param url: of the database.
    :param target: the file to make; compressed with gzip.
    :raises BackupError: there is no such database, or the copy is damaged.
    """
    if not url.database or not Path(url.database).is_file():
        raise BackupError(f"there is no database {url.database or 'in memory'}")
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        plain = Path(folder) / "copy"
        _copy(Path(url.database), plain)
        with plain.open("rb") as source, gzip.open(target, "wb") as packed:
            shutil.copyfileobj(source, packed)


def _copy(database: Path, target: Path) -> None:
    source_uri = f"{database.resolve().as_uri()}?mode=ro"
    with closing(sqlite3.connect(source_uri, uri=True)) as source, closing(sqlite3.connect(target)) as copy:
        source.backup(copy)
        verdict = copy.execute("PRAGMA integrity_check").fetchone()[0]
    if verdict != "ok":
        raise BackupError(f"the copy of {database} is damaged: {verdict}")


def record(url: URL, file: Path) -> None:
    """Note in the database that a copy was made, for the page that lists them.

    :param url: of the database.
    :param file: the finished copy.
    """
    engine = get_engine({"sqlalchemy.url": url})
    try:
        with Session(engine) as dbsession, dbsession.begin():
            dbsession.add(Backup(host=socket.gethostname(), path=str(file), size=file.stat().st_size))
    finally:
        engine.dispose()


def run(arguments: Sequence[str], url: URL) -> Iterator[str]:
    """Do what the arguments say.

    :param arguments: see the module.
    :param url: of the database.
    :return: the lines to print.
    :raises BackupError: it cannot be done, or it is not known what is meant.
    """
    match arguments:
        case ["kind"]:
            yield url.get_backend_name()
        case ["environment"]:
            yield from (f"{name}={value}" for name, value in libpq_environment(url).items())
        case ["copy", target]:
            copy_sqlite(url, Path(target))
        case ["record", file]:
            record(url, Path(file))
        case _:
            raise BackupError(f"{' '.join(arguments)}: allowed are kind, environment, copy FILE and record FILE")


def main() -> int:
    """:return: the exit status; an error is one line."""
    try:
        for line in run(sys.argv[1:], make_url(os.environ["MAIN_SQLALCHEMY_URL"])):
            print(line)
    except (BackupError, OSError, sqlite3.Error) as error:
        print(f"backup: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
