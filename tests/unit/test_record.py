"""Calls that are written into the ledger with the transaction they are made in."""

import pytest

from pyramid_celery_tm.request import open_request
from tests.application import add, configure, make_config, queued, records, texts, worker, write


@pytest.fixture
def kept(redis_url, postgresql_url):
    """The small application with a ledger on PostgreSQL."""
    return configure(make_config(postgresql_url, ledger=True), redis_url)


@pytest.fixture
def request_(kept):
    with open_request(kept) as request:
        yield request


def test_a_call_is_written_with_the_commit_and_marked_as_sent(kept, request_, redis_url):
    with request_.tm:
        result = add.delay(1, 2)
        assert records(kept) == []
    (record,) = records(kept)
    assert (record.id, record.name, record.state, record.sends) == (result.id, "add", "sent", 1)
    assert [message["id"] for message in queued(redis_url)] == [result.id]


def test_a_worker_runs_it_once(kept, request_, redis_url):
    with request_.tm:
        write.delay("hello")
    with worker():
        from tests.services import wait_until
        wait_until(lambda: [r.state for r in records(kept)] == ["done"] * 2, 20, "done", )
    assert texts(kept) == ["hello"]
