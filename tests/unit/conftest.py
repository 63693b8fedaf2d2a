"""The small application, configured with a real broker."""

import pytest
import redis

from pyramid_celery_tm.request import open_request
from tests.application import configure, make_config


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
