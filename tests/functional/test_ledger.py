"""Canvas, retries and replacements with a ledger, in a real worker."""

from __future__ import annotations

import pytest

from pyramid_celery_tm.request import open_request
from tests.application import configure, make_config, records, worker
from tests.services import wait_until
from tests.unit.test_chords import CANVAS, CHORDS

CLOSED = {"done", "failed", "revoked"}


@pytest.fixture
def registry(postgresql_url, redis_url):
    return configure(make_config(postgresql_url, ledger=True), redis_url)


@pytest.fixture
def request_(registry):
    with open_request(registry) as request:
        yield request


def all_closed(registry, least=1):
    """Wait until every row is closed; the rows."""

    def closed():
        rows = records(registry)
        return len(rows) >= least and all(row.state in CLOSED for row in rows)

    wait_until(closed, 30, lambda: [(r.name, r.state, r.error) for r in records(registry)])
    return records(registry)


@pytest.mark.parametrize("within", [True, False], ids=["in a transaction", "in none"])
@pytest.mark.parametrize("kind", CHORDS)
def test_a_chord_completes_once(registry, request_, redis_client, kind, within):
    call, expected = CHORDS[kind]
    if within:
        with request_.tm:
            result = call()
    else:
        result = call()
    with worker():
        value = result.get(timeout=20)
        rows = all_closed(registry, 0)
    assert expected is None or value == expected
    assert len({row.id for row in rows}) == len(rows)


@pytest.mark.parametrize("kind", CANVAS)
def test_a_canvas_leaves_no_open_row_behind(registry, request_, kind):
    with request_.tm:
        result = CANVAS[kind]()
    with worker():
        result.get(timeout=20)
        all_closed(registry)


@pytest.fixture
def redis_client(redis_url):
    import redis

    with redis.Redis.from_url(redis_url) as client:
        yield client
