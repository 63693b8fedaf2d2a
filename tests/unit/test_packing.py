"""Messages that a row holds."""

from datetime import UTC, datetime

import pytest
from celery import chord, group
from kombu import serialization

from pyramid_celery_tm import packing
from pyramid_celery_tm.app import celery_app
from pyramid_celery_tm.request import open_request
from tests.application import add, configure, make_config, queued, records, total


@pytest.fixture
def registry(redis_url, tmp_path):
    return configure(make_config(f"sqlite:///{tmp_path}/ledger.sqlite", ledger=True), redis_url)


@pytest.fixture
def request_(registry):
    with open_request(registry) as request:
        yield request


@pytest.fixture
def binary():
    serialization.register("upside-down", lambda value: serialization.dumps(value, "json")[2].encode()[::-1],
                           lambda data: serialization.loads(bytes(data)[::-1].decode(), "application/json", "utf-8"),
                           "application/x-upside-down", "binary")  # fmt: skip
    yield "upside-down"
    serialization.unregister("upside-down")


def test_a_message_comes_out_of_the_table_as_it_went_in(registry, request_, binary):
    moment = datetime(2026, 1, 2, tzinfo=UTC)
    with request_.tm:
        add.apply_async((moment, 1), priority=3, queue="heavy", headers={"x": 1}, link=[add.s(1), group(add.s(2))])
        add.apply_async((1, 2), serializer=binary, exchange="celery", routing_key="celery", expires=60)
    for row in records(registry):
        message, claimed = packing.unpack(celery_app, row.name, row.message)
        assert claimed
        args, _, embed = message.content.body
        if row.queue == "heavy":
            assert args == [moment, 1]
            assert message.options["priority"] == 3
            assert embed["callbacks"][0]["options"]["task_id"]
            assert embed["callbacks"][1]["kwargs"]["tasks"][0]["options"]["task_id"]
        else:
            assert args == [1, 2]
            assert "expiration" not in message.options
        assert packing.pack(message, claimed=True)


def test_callbacks_keep_the_ids_that_they_were_given(registry, request_, redis_url):
    with request_.tm:
        add.apply_async((1,), link=add.s(2).set(task_id="chosen"), link_error=chord([add.s(1)], total.s()))
    (message,) = queued(redis_url)
    assert message["embed"]["callbacks"][0]["options"]["task_id"] == "chosen"
    errback = message["embed"]["errbacks"][0]["kwargs"]
    assert errback["header"][0]["options"]["task_id"]
    assert errback["body"]["options"]["task_id"]
