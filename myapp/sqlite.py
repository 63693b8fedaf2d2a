"""SQLite as a web application needs it: the development database is written by several processes at once.

PostgreSQL needs nothing of this.
"""

from __future__ import annotations

import sqlite3
from typing import Any

from sqlalchemy import Connection, Engine, event

BUSY_TIMEOUT = 15_000
"""Milliseconds that a transaction waits for the one before it."""


def prepare_sqlite(engine: Engine) -> None:
    """Make an engine's transactions real ones, that wait for each other.

    :param engine: an engine on SQLite; changed in place.
    """
    event.listen(engine, "connect", _on_connect)
    event.listen(engine, "begin", _on_begin)


def _on_connect(connection: sqlite3.Connection, record: Any) -> None:
    # Python's driver opens a transaction only at the first INSERT, and commits before some statements. Off with
    # that: SQLAlchemy says BEGIN itself, see below.
    connection.isolation_level = None
    connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT}")
    connection.execute("PRAGMA foreign_keys = ON")


def _on_begin(connection: Connection) -> None:
    # A transaction that reads first and writes later cannot be given the lock when another one has written in
    # between: SQLite says "database is locked" at once, whatever the timeout. Taking the lock at the beginning, they
    # wait in line instead. Readers wait too, which a development database can afford.
    connection.exec_driver_sql("BEGIN IMMEDIATE")
