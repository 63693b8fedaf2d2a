"""The servers, the databases and the application that all measures share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis
from sqlalchemy import Connection, text
from sqlalchemy.pool import QueuePool

from pyramid_celery_tm.ledger import KEY, Ledger
from tests.application import configure, make_config
from tests.services import Databases, PostgreSQL


class Durable(PostgreSQL):
    """A PostgreSQL that waits for the disk, as one in production does."""

    def command(self) -> list[str]:
        """The command line; the last of two words on the same setting counts."""
        return [*super().command(), "-c", "fsync=on", "-c", "full_page_writes=on"]


class Surroundings:
    """Where a measure finds what it needs.

    :param databases: makes databases.
    :param redis_url: the broker, whose database is emptied.
    """

    def __init__(self, databases: Databases, redis_url: str) -> None:
        self.databases = databases
        self.redis_url = redis_url

    @contextmanager
    def application(self, **settings: Any) -> Iterator[Any]:
        """The registry of a small application with a ledger, on a fresh database.

        :param settings: of the ledger, by their names without the prefix.
        """
        url = self.databases.create()
        try:
            config = make_config(
                url, QueuePool, ledger=True, **{f"tasks.{name}": value for name, value in settings.items()}
            )
            registry = configure(config, self.redis_url)
            self.empty_queues()
            yield registry
            registry["engine"].dispose()
        finally:
            self.databases.drop(url)

    def empty_queues(self) -> None:
        """Throw away what the broker has."""
        with redis.Redis.from_url(self.redis_url) as client:
            client.flushdb()


@contextmanager
def without_ledger(registry: Any) -> Iterator[None]:
    """Within this block the application has no ledger."""
    ledger = registry.pop(KEY)
    try:
        yield
    finally:
        registry[KEY] = ledger


@contextmanager
def autocommit(ledger: Ledger) -> Iterator[Connection]:
    """A connection for statements like VACUUM."""
    with ledger.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        yield connection


def tidy(ledger: Ledger) -> None:
    """Leave the database as it is when autovacuum has been there."""
    with autocommit(ledger) as connection:
        connection.execute(text("VACUUM ANALYZE"))
        connection.execute(text("CHECKPOINT"))
