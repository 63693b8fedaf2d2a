"""RabbitMQ with a ledger: queues of both types, delays, and what the broker confirms."""

import pytest

from pyramid_celery_tm.app import celery_app
from pyramid_celery_tm.request import open_request
from tests.application import add, background, configure, heavy, make_config, records, texts, worker, write
from tests.services import wait_until


@pytest.fixture(params=["classic", "quorum"])
def registry(rabbitmq, redis_url, postgresql_url, request):
    config = make_config(postgresql_url, ledger=True)
    return configure(config, rabbitmq.url, result_backend=redis_url, task_default_queue_type=request.param)


def test_calls_run_once_with_and_without_a_delay(registry):
    with worker():  # the first worker declares what quorum queues need for delays
        with open_request(registry) as request, request.tm:
            write.delay("now")
            write.apply_async(("soon",), countdown=1)
            heavy.delay()
            background.delay()
        wait_until(lambda: {row.state for row in records(registry)} == {"done"}, 30, "all to be done")
    assert sorted(texts(registry)) == ["now", "soon"]


def test_what_rabbitmq_has_not_confirmed_is_not_marked_as_sent(registry, caplog):
    assert celery_app.conf.broker_transport_options["confirm_publish"] is True
    with open_request(registry) as request, request.tm:
        add.apply_async((1,), exchange="nowhere", routing_key="nowhere", retry=False)
    assert [row.state for row in records(registry)] == ["pending"]
    assert "could not be sent after the commit" in caplog.text
