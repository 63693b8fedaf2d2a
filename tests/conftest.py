"""The servers and databases that every test may ask for.

==================  ====================================================================================
``redis_url``       an empty database of one Valkey that the whole run shares
``valkey``          a Valkey of the test's own: to freeze, stop, wipe
``postgresql_url``  a fresh, empty database on one PostgreSQL that the whole run shares
``postgresql``      a PostgreSQL of the test's own: to freeze, stop, kill
``rabbitmq_url``    a RabbitMQ that the whole run shares; the test cleans up its queues
``rabbitmq``        a RabbitMQ of the test's own: takes four seconds to start
==================  ====================================================================================

``TEST_REDIS_URL``, ``TEST_POSTGRESQL_URL`` and ``TEST_RABBITMQ_URL`` put a server of yours in the place of the shared
ones: the Redis database is emptied before each test, the user of PostgreSQL must be allowed to create databases. What
a machine cannot run is skipped with the reason, and is an error where ``CI`` is true.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import TypeVar

import pytest
import redis

from tests.services import Databases, PostgreSQL, RabbitMQ, Service, Unavailable, Valkey
from tests.services.rabbitmq import find_binaries

S = TypeVar("S", bound=Service)


def missing_rabbitmq() -> str | None:
    """Why the tests with RabbitMQ are skipped on this machine, or ``None``."""
    if os.environ.get("TEST_RABBITMQ_URL"):
        return None
    try:
        find_binaries()
    except Unavailable as missing:
        return str(missing)
    return None


def pytest_configure(config: pytest.Config) -> None:
    """Without RabbitMQ the few lines that only RabbitMQ runs are not covered; CI has it, and asks for all of them."""
    coverage = config.pluginmanager.get_plugin("_cov")
    if coverage is not None and missing_rabbitmq():
        coverage.options.cov_fail_under = 99


def pytest_report_header() -> list[str]:
    missing = missing_rabbitmq()
    return [f"coverage: 99 % asked for instead of 100, for {missing}"] if missing else []


def serve(make: Callable[[], S]) -> Iterator[S]:
    """Run a server for the length of a fixture, or skip aloud."""
    try:
        service = make()
        service.start()
    except Unavailable as missing:
        if os.environ.get("CI") == "true":
            pytest.fail(f"nothing is skipped in CI: {missing}")
        pytest.skip(str(missing))
    yield service
    service.close()


@pytest.fixture(scope="session")
def shared_valkey() -> Iterator[Valkey]:
    yield from serve(Valkey)


@pytest.fixture
def redis_url(request: pytest.FixtureRequest) -> str:
    """The address of an empty Redis database."""
    url = os.environ.get("TEST_REDIS_URL") or request.getfixturevalue("shared_valkey").url()
    with redis.Redis.from_url(url) as client:
        client.flushdb()
    return str(url)


@pytest.fixture
def valkey() -> Iterator[Valkey]:
    yield from serve(Valkey)


@pytest.fixture(scope="session")
def shared_postgresql() -> Iterator[PostgreSQL]:
    yield from serve(PostgreSQL)


@pytest.fixture(scope="session")
def databases(request: pytest.FixtureRequest) -> Databases:
    """Makes further databases, copies of a template for instance."""
    if url := os.environ.get("TEST_POSTGRESQL_URL"):
        return Databases(url)
    postgresql: PostgreSQL = request.getfixturevalue("shared_postgresql")
    return postgresql.databases


@pytest.fixture
def postgresql_url(databases: Databases) -> Iterator[str]:
    """The address of a fresh database, for SQLAlchemy with psycopg."""
    url = databases.create()
    yield url
    databases.drop(url)


@pytest.fixture
def postgresql() -> Iterator[PostgreSQL]:
    yield from serve(PostgreSQL)


@pytest.fixture(scope="session")
def shared_rabbitmq() -> Iterator[RabbitMQ]:
    yield from serve(RabbitMQ)


@pytest.fixture
def rabbitmq_url(request: pytest.FixtureRequest) -> str:
    """The address of a RabbitMQ."""
    return os.environ.get("TEST_RABBITMQ_URL") or str(request.getfixturevalue("shared_rabbitmq").url)


@pytest.fixture
def rabbitmq() -> Iterator[RabbitMQ]:
    yield from serve(RabbitMQ)
