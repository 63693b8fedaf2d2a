"""The servers of the tests leave nothing behind, and do what the fault tests ask of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest
import redis
from sqlalchemy.engine import make_url

from tests.services import wait_until

ROOT = Path(__file__).parents[1]
STARTS_ONE = """
import sys, threading
from tests.services import {service}
service = {service}().start()
print(service.pid, service.directory, flush=True)
threading.Event().wait()
"""


def is_gone(pid: int) -> bool:
    with suppress(ProcessLookupError):
        os.kill(pid, 0)
        return False
    return True


@pytest.mark.parametrize("service", ["Valkey", "PostgreSQL"])
def test_a_server_ends_with_a_test_process_that_is_killed(service):
    command = [sys.executable, "-c", STARTS_ONE.format(service=service)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as tests:
        pid, directory = tests.stdout.readline().split()
        assert not is_gone(int(pid))
        tests.send_signal(signal.SIGKILL)
    wait_until(lambda: is_gone(int(pid)), what=f"{service} to end")
    wait_until(lambda: not Path(directory).exists(), what="its files to be removed")


def test_a_frozen_server_answers_nothing_until_it_is_thawed(valkey):
    with redis.Redis.from_url(valkey.url(), socket_timeout=0.2, retry=None) as client:
        client.set("a", "b")
        valkey.freeze()
        with pytest.raises(redis.TimeoutError):
            client.ping()
        valkey.thaw()
        assert client.get("a") == b"b"


def test_a_frozen_server_can_be_stopped(valkey):
    valkey.freeze()
    valkey.stop()
    assert is_gone(valkey.pid)


def test_a_valkey_comes_back_empty_at_the_same_address(valkey):
    url = valkey.url(3)
    with redis.Redis.from_url(url) as client:
        client.set("a", "b")
    valkey.restart()
    assert valkey.url(3) == url
    with redis.Redis.from_url(url) as client:
        assert client.get("a") is None


def test_a_postgresql_that_was_killed_comes_back_with_its_rows(postgresql):
    url = make_url(postgresql.databases.create()).set(drivername="postgresql").render_as_string()
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE kept (id integer)")
    postgresql.kill()
    postgresql.start()
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT count(*) FROM kept").fetchone() == (0,)


def test_each_database_is_fresh_and_can_be_a_copy_of_another(databases, postgresql_url):
    with psycopg.connect(make_url(postgresql_url).set(drivername="postgresql").render_as_string()) as connection:
        assert connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone() == (0,)
        connection.execute("CREATE TABLE copied (id integer)")
    copy = databases.create(template=make_url(postgresql_url).database)
    try:
        with psycopg.connect(make_url(copy).set(drivername="postgresql").render_as_string()) as connection:
            assert connection.execute("SELECT count(*) FROM copied").fetchone() == (0,)
    finally:
        databases.drop(copy)


def test_a_rabbitmq_leaves_neither_its_node_nor_its_name_service(rabbitmq):
    group = os.getpgid(rabbitmq.pid)
    rabbitmq.close()
    with pytest.raises(ProcessLookupError):
        os.killpg(group, 0)
