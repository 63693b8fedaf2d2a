"""The small application, configured with a real broker."""

import gc

import pytest
import redis

from pyramid_celery_tm.app import celery_app
from pyramid_celery_tm.request import open_request
from tests.application import configure, make_config


@pytest.fixture(autouse=True)
def results_are_collected():
    """A result unsubscribes when it is collected: better now than when the server is gone, which takes 20 seconds."""
    yield
    if celery_app.configured and getattr(celery_app.backend, "result_consumer", None) is not None:
        gc.collect()


@pytest.fixture
def registry(redis_url):
    return configure(make_config(), redis_url)


@pytest.fixture
def request_(registry):
    """A current request, as in a view, without a transaction."""
    with open_request(registry) as request:
        yield request


@pytest.fixture
def tm(request_):
    """The transaction manager of the current request, begun."""
    request_.tm.begin()
    yield request_.tm
    if request_.tm._txn is not None:
        request_.tm.abort()


@pytest.fixture
def redis_client(redis_url):
    with redis.Redis.from_url(redis_url) as client:
        yield client
