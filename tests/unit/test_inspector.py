"""Lengths of queues and what workers hold, with a real broker."""

import pytest
from celery import Celery
from kombu import Connection, Exchange, Queue
from kombu.exceptions import OperationalError

from pyramid_celery_tm import unacked
from pyramid_celery_tm.inspector import QueueStatus, connect, queue_length, queues, task_ids_in_workers
from tests.application import worker
from tests.services import wait_until


def make_app(url, **settings):
    app = Celery("inspected", broker=url, set_as_current=False)
    app.conf.task_queues = [Queue("celery", Exchange("celery"), "celery"), Queue("named", Exchange("shop"), "orders")]
    app.conf.broker_transport_options = settings
    return app


def send(app, queue="celery", **options):
    return app.send_task("nobody.knows", queue=queue, **options)


def take(app, queue="celery"):
    """Take a message as a worker does that is killed before it acknowledges; the connection must stay open."""
    connection = Connection(app.conf.broker_url, transport_options=app.conf.broker_transport_options)
    connection.default_channel.basic_get(queue)
    connection.default_channel.qos.restore_at_shutdown = False
    return connection


@pytest.mark.parametrize("prefix", [{}, {"global_keyprefix": "site-a:"}], ids=["plain", "prefixed"])
def test_a_queue_is_as_long_as_the_messages_of_all_priorities(redis_url, prefix):
    app = make_app(redis_url, **prefix)
    for priority in (0, 3, 9):
        send(app, priority=priority)
    assert queue_length("celery", app) == 3
    assert queue_length("named", app) == 0


def test_a_queue_that_does_not_exist_is_empty(redis_url):
    assert queue_length("nowhere", make_app(redis_url)) == 0


def test_a_queue_of_rabbitmq_is_counted_too(rabbitmq_url):
    app = make_app(rabbitmq_url)
    with app.connection_for_write() as connection:
        for queue in app.amqp.queues.values():
            queue(connection.default_channel).declare()
            queue(connection.default_channel).purge()
    send(app)
    send(app)
    assert queue_length("celery", app) == 2
    assert queue_length("nowhere", app) == 0
    assert queues(app, timeout=0.1)[0] == QueueStatus("celery", waiting=2, unacked=None, eta=None, active=None)


def test_a_refusal_of_rabbitmq_other_than_not_found_is_told(rabbitmq_url):
    app = make_app(rabbitmq_url)
    with app.connection_for_write() as connection:
        exclusive = Queue("exclusive", exclusive=True)(connection.default_channel)
        exclusive.declare()
        with pytest.raises(Exception, match="RESOURCE_LOCKED"):
            queue_length("exclusive", app)


@pytest.mark.parametrize("prefix", [{}, {"global_keyprefix": "site-a:"}], ids=["plain", "prefixed"])
def test_messages_taken_and_not_acknowledged_are_counted_by_queue_and_can_be_dropped(redis_url, prefix):
    app = make_app(redis_url, **prefix)
    first, second = send(app), send(app, "named")
    with take(app), take(app, "named"), connect(app) as connection:
        channel = connection.default_channel
        assert [(s.name, s.waiting, s.unacked) for s in queues(app, timeout=0.1)] == [("celery", 0, 1), ("named", 0, 1)]
        messages = {message.task_id: message for message in unacked.unacked_messages(app, channel)}
        assert messages.keys() == {first.id, second.id}
        assert unacked.drop(channel, [messages[second.id]]) == 1
        assert unacked.drop(channel, [messages[second.id]]) == 0
        assert unacked.drop(channel, []) == 0
        assert [message.task_id for message in unacked.unacked_messages(app, channel)] == [first.id]


def test_the_queue_of_a_message_is_found_by_exchange_and_key(redis_url):
    app = make_app(redis_url)
    assert unacked.queue_of(app, {"exchange": "", "routing_key": "any"}) == "any"
    assert unacked.queue_of(app, {"exchange": "shop", "routing_key": "orders"}) == "named"
    assert unacked.queue_of(app, {"exchange": "elsewhere", "routing_key": "any"}) == "any"
    assert unacked.queue_of(app, {}) == ""


def test_without_workers_what_they_would_know_is_unknown(redis_url):
    app = make_app(redis_url)
    assert queues(app, timeout=0.1)[0] == QueueStatus("celery", waiting=0, unacked=0, eta=None, active=None)
    with connect(app) as connection:
        assert task_ids_in_workers(app, connection, timeout=0.1) == set()


def test_what_workers_hold_until_its_time_is_counted(registry):
    from pyramid_celery_tm import celery_app

    with worker(pool="threads", queues=["celery"]):
        waiting = celery_app.send_task("plain", countdown=600)
        status = wait_until(lambda: next(s for s in queues() if s.name == "celery" and s.eta), 20, "the task to arrive")
        assert (status.waiting, status.unacked, status.eta, status.active) == (0, 1, 1, 0)
        with connect(celery_app) as connection:
            assert task_ids_in_workers(celery_app, connection) == {waiting.id}


def test_a_broker_that_does_not_answer_is_told_and_not_waited_for():
    with pytest.raises(OperationalError):
        queue_length("celery", make_app("redis://127.0.0.1:1/0"))


def test_a_broker_that_hangs_is_told_and_not_waited_for(valkey):
    app = make_app(valkey.url(), socket_timeout=0.3)
    assert queue_length("celery", app) == 0
    valkey.freeze()
    with pytest.raises(OperationalError):
        queue_length("celery", app)
    valkey.thaw()
