"""The application's Redis: which one, and whose connections."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis
from pyramid.registry import Registry
from pyramid.request import Request

from pyramid_celery_tm.exceptions import SettingMissing, SettingsError
from pyramid_celery_tm.redis import get_redis
from tests.services import free_port


def registry_with(**settings):
    registry = Registry()
    registry.settings = {name.replace("_", "."): value for name, value in settings.items()}
    return registry


@pytest.fixture
def registry(redis_url):
    registry = registry_with(redis_url=redis_url)
    yield registry
    get_redis(registry).close()


def test_what_is_written_is_read_back_as_bytes(registry):
    get_redis(registry).set("rate", "7.1")

    assert get_redis(registry).get("rate") == b"7.1"


def test_a_request_will_do_as_well_as_its_registry(registry):
    request = Request.blank("/")
    request.registry = registry

    assert get_redis(request) is get_redis(registry)


def test_the_database_of_the_url_is_used():
    client = get_redis(registry_with(redis_url="redis://localhost:7000/11"))

    assert client.get_connection_kwargs()["db"] == 11


def test_options_of_the_url_win_over_the_time_limits():
    options = get_redis(registry_with(redis_url="redis://localhost/1?socket_timeout=30")).get_connection_kwargs()

    assert (options["socket_timeout"], options["socket_connect_timeout"]) == (30, 5)


def test_two_applications_in_one_process_have_a_client_each(redis_url):
    one, other = registry_with(redis_url=redis_url), registry_with(redis_url=redis_url)

    assert get_redis(one) is not get_redis(other)


def test_threads_that_come_first_together_are_given_one_client(redis_url):
    registry = registry_with(redis_url=redis_url)
    with ThreadPoolExecutor(8) as pool:
        clients = set(pool.map(lambda _: get_redis(registry), range(64)))

    assert len(clients) == 1


def test_a_forked_child_opens_connections_of_its_own(registry):
    number = get_redis(registry).client_id()

    assert in_a_fork(lambda: get_redis(registry).client_id()) != number
    assert get_redis(registry).client_id() == number, "the child has closed its parent's connection"


def in_a_fork(function):
    """The number that the function returns in a forked child of this process."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:  # pragma: no cover - no coverage is written by os._exit()
        try:
            os.write(writing, str(function()).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, encoding="ascii") as answer:
        text = answer.read()
    os.waitpid(child, 0)
    return int(text)


@pytest.mark.parametrize("settings", [{}, {"redis_url": ""}])
def test_the_missing_setting_is_named_with_an_example(settings):
    with pytest.raises(SettingMissing, match=r"redis\.url is not set.*'redis\.url = redis://localhost:6379/3'"):
        get_redis(registry_with(**settings))


def test_a_registry_without_settings_lacks_the_setting():
    with pytest.raises(SettingMissing):
        get_redis(Registry())


def test_a_url_that_is_none_of_a_redis_is_shown_without_its_password():
    with pytest.raises(SettingsError, match=r"^redis\.url: 'amqp://me:\*\*@there/' is no URL of a Redis") as raised:
        get_redis(registry_with(redis_url="amqp://me:hush@there"))

    assert "hush" not in str(raised.value)
    assert "redis://localhost:6379/3" in str(raised.value)


def test_a_redis_that_is_not_there_is_reported_at_the_first_command():
    client = get_redis(registry_with(redis_url=f"redis://127.0.0.1:{free_port()}/0"))

    with pytest.raises(redis.exceptions.ConnectionError):
        client.ping()
