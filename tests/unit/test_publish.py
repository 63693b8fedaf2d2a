"""Messages: the same as Celery's own, sent within a bounded time."""

import json
import logging
import time
from datetime import UTC, datetime, timedelta

import pytest
from celery import signals
from celery.app.task import Task
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kombu.exceptions import OperationalError
from webtest import TestApp

from pyramid_celery_tm import publish
from pyramid_celery_tm.app import celery_app
from pyramid_celery_tm.request import open_request
from tests.application import add, configure, make_config, queued, total

BOUND = publish.SECONDS_PER_COMMIT + 1.0  # seconds; the noise of a busy machine included


@pytest.fixture
def own_broker(valkey):
    """A broker of the test's own, to be broken, with the results elsewhere."""
    return configure(make_config(), valkey.url(), result_backend="cache+memory://")


def commit_with(registry, *calls):
    """Commit a transaction in which something was called; the seconds that the commit took."""
    with open_request(registry) as request:
        request.tm.begin()
        for call in calls:
            call()
        started = time.monotonic()
        request.tm.commit()
        return time.monotonic() - started


VARIABLE = ("id", "root_id", "origin", "correlation_id", "delivery_tag", "reply_to", "eta", "expires")


def comparable(message):
    """A message without what differs between any two of them."""
    envelope = json.loads(json.dumps(message["envelope"]))
    for part in (envelope["headers"], envelope["properties"]):
        for name in VARIABLE:
            part.pop(name, None)
    envelope["properties"].pop("delivery_info", None)
    return envelope


options = st.fixed_dictionaries(
    {},
    optional={
        "priority": st.integers(0, 9),
        "countdown": st.integers(1, 1000),
        "expires": st.integers(1, 1000),
        "shadow": st.text(max_size=5),
        "headers": st.dictionaries(st.sampled_from(["a", "b"]), st.integers()),
        "link": st.just(add.s(1)),
        "link_error": st.just([add.s(2), add.s(3)]),
        "ignore_result": st.booleans(),
        "soft_time_limit": st.integers(1, 5),
        "time_limit": st.integers(6, 9),
        "serializer": st.just("json"),
        "compression": st.sampled_from(["zlib", None]),
        "argsrepr": st.text(max_size=5),
        "routing_key": st.just("other"),
        "retry": st.booleans(),
        "delivery_mode": st.sampled_from([1, 2, "transient"]),
    },
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(options=options, x=st.integers(), y=st.text(max_size=5))
def test_a_deferred_message_is_the_one_that_celery_would_have_sent(registry, redis_client, redis_url, options, x, y):
    queues = ["celery", *(f"celery\x06\x16{priority}" for priority in (3, 6, 9))]
    redis_client.delete(*queues)
    Task.apply_async(celery_app.tasks["add"], (x, y), **options)
    [celerys] = raw(redis_client, queues)
    redis_client.delete(*queues)
    commit_with(registry, lambda: add.apply_async((x, y), **options))
    [ours] = raw(redis_client, queues)
    assert comparable({"envelope": ours}) == comparable({"envelope": celerys})


def raw(client, queues):
    return [json.loads(item) for queue in queues for item in client.lrange(queue, 0, -1)]


def test_countdown_and_expires_count_from_the_commit(registry, redis_url):
    with open_request(registry) as request:
        request.tm.begin()
        add.apply_async((1,), countdown=100, expires=200)
        eta = datetime.now(UTC) + timedelta(hours=1)
        add.apply_async((2,), eta=eta, expires=eta)
        message = request.tm.get().data(publish_calls()).calls[0].item
        called = datetime.fromisoformat(message.content.headers["eta"])
        request.tm.commit()
    relative, absolute = queued(redis_url)
    assert datetime.fromisoformat(relative["eta"]) > called
    seconds = (datetime.fromisoformat(relative["expires"]) - datetime.fromisoformat(relative["eta"])).total_seconds()
    assert seconds == pytest.approx(100, abs=0.5)
    assert datetime.fromisoformat(absolute["eta"]) == datetime.fromisoformat(absolute["expires"]) == eta


def publish_calls():
    from pyramid_celery_tm.deferral import Calls

    return Calls


DELAYS = {
    "countdown": lambda: {"countdown": 3601},
    "eta": lambda: {"eta": datetime.now(UTC) + timedelta(hours=2)},
}


@pytest.mark.parametrize("delay", DELAYS)
def test_a_delay_above_the_visibility_timeout_is_warned_of(registry, caplog, delay):
    add.apply_async((1,), **DELAYS[delay]())
    assert "task add was called with a delay of" in caplog.text
    assert "visibility_timeout" in caplog.text


def test_a_delay_below_the_visibility_timeout_is_not(redis_url, caplog):
    configure(make_config(), redis_url, broker_transport_options={"visibility_timeout": 43200})
    add.apply_async((1,), countdown=7200)
    assert "visibility_timeout" not in caplog.text


def test_signals_and_the_sent_event_come_with_the_sending(redis_url):
    registry = configure(make_config(), redis_url, task_send_sent_event=True)
    seen = []

    def before(sender, headers, body, **_):
        seen.append(("before", sender, list(body[0])))
        headers["stamp"] = "here"

    def after(sender, **_):
        seen.append(("after", sender))

    signals.before_task_publish.connect(before)
    signals.after_task_publish.connect(after)
    try:
        with open_request(registry) as request, request.tm:
            add.apply_async((1, 2), countdown=10)
            assert seen == []
    finally:
        signals.before_task_publish.disconnect(before)
        signals.after_task_publish.disconnect(after)
    assert seen == [("before", "add", [1, 2]), ("after", "add")]
    assert queued(redis_url)[0]["stamp"] == "here"


def test_a_closed_broker_raises_nothing_and_each_lost_call_is_logged(own_broker, valkey, caplog):
    valkey.stop()
    with caplog.at_level(logging.ERROR):
        seconds = commit_with(own_broker, lambda: add.delay(1, y=2), lambda: total.delay([3]))
    assert seconds < BOUND
    lines = [record.getMessage() for record in caplog.records if "was not sent" in record.getMessage()]
    assert len(lines) == 2
    assert lines[0].startswith("task add[")
    assert "args=(1,) kwargs={'y': 2}" in lines[0]


def test_a_thousand_calls_to_a_closed_broker_are_bounded_too(own_broker, valkey, caplog):
    valkey.stop()
    seconds = commit_with(own_broker, *[lambda: add.delay(1)] * 1000)
    assert seconds < BOUND
    assert sum("was not sent" in record.getMessage() for record in caplog.records) == 1000


def test_many_calls_to_a_healthy_broker_all_leave_however_long_it_takes(registry, redis_url, monkeypatch):
    monkeypatch.setattr(publish, "SECONDS_PER_OPERATION", 0.4)
    seconds = commit_with(registry, *[lambda: add.delay(1)] * 2000)
    assert seconds > 0.4
    assert len(queued(redis_url)) == 2000


@pytest.mark.parametrize("connected", [False, True])
def test_a_frozen_broker_is_bounded(own_broker, valkey, caplog, connected):
    if connected:
        commit_with(own_broker, lambda: add.delay(0))
    valkey.freeze()
    seconds = commit_with(own_broker, *[lambda: add.delay(1)] * 20)
    valkey.thaw()
    assert seconds < BOUND
    assert sum("was not sent" in record.getMessage() for record in caplog.records) == 20


def test_a_broker_that_freezes_in_the_middle_of_a_commit_is_bounded(own_broker, valkey, caplog):
    sent = []

    def freeze(**_):
        sent.append(1)
        if len(sent) == 300:
            valkey.freeze()

    signals.after_task_publish.connect(freeze)
    try:
        seconds = commit_with(own_broker, *[lambda: add.delay(1)] * 600)
    finally:
        signals.after_task_publish.disconnect(freeze)
        valkey.thaw()
    lost = sum("was not sent" in record.getMessage() for record in caplog.records)
    print(f"600 called, {len(sent)} sent, {lost} reported as not sent, {seconds:.1f} s")
    assert (len(sent), lost) == (300, 300)
    assert seconds < BOUND


def test_a_slow_broker_is_bounded_too(registry, redis_url, caplog, monkeypatch):
    monkeypatch.setattr(publish, "SECONDS_PER_OPERATION", 0)
    commit_with(registry, lambda: add.delay(1))
    assert "the broker is too slow" in caplog.text


@pytest.mark.parametrize("broken", ["stop", "freeze"])
def test_a_call_after_the_response_does_not_turn_saved_work_into_an_error(valkey, caplog, broken):
    def view(request):
        request.add_response_callback(lambda request, response: add.delay(1))
        request.add_finished_callback(lambda request: add.delay(2))
        return {}

    config = make_config()
    config.add_view(view, route_name="page", renderer="json")
    configure(config, valkey.url(), result_backend="cache+memory://")
    app = TestApp(config.make_wsgi_app())
    app.get("/page/1", status=200)
    assert [message["args"] for message in queued(valkey.url())] == [[1], [2]]
    getattr(valkey, broken)()
    started = time.monotonic()
    app.get("/page/1", status=200)
    assert time.monotonic() - started < 2 * BOUND
    assert caplog.text.count("was not sent") == 2
    if broken == "freeze":
        valkey.thaw()


def test_a_call_of_a_script_without_a_transaction_raises(own_broker, valkey):
    valkey.stop()
    with open_request(own_broker), pytest.raises(OperationalError):
        add.delay(1)


def test_a_broker_that_was_restarted_is_found_again(own_broker, valkey):
    commit_with(own_broker, lambda: add.delay(1))
    valkey.stop()
    valkey.start()
    commit_with(own_broker, lambda: add.delay(2))
    assert [message["args"] for message in queued(valkey.url())] == [[2]]


@pytest.mark.parametrize("broken", ["stop", "freeze"])
def test_a_broken_result_backend_does_not_hold_up_the_commit(redis_url, valkey, broken):
    registry = configure(make_config(), redis_url, result_backend=valkey.url())
    getattr(valkey, broken)()
    seconds = commit_with(registry, *[lambda: add.delay(1)] * 10)
    assert seconds < 2
    assert len(queued(redis_url)) == 10


def test_messages_leave_by_rabbitmq(rabbitmq_url):
    registry = configure(
        make_config(), rabbitmq_url, result_backend="rpc://", broker_transport_options={"confirm_publish": True}
    )
    celery_app.control.purge()
    results = []
    commit_with(registry, lambda: results.append(add.delay(1, 2)))
    with celery_app.connection_for_read() as connection:
        queue = celery_app.amqp.queues["celery"].bind(connection.default_channel)
        message = queue.get(no_ack=True)
    assert message.headers["id"] == results[0].id


def test_a_frozen_rabbitmq_is_bounded(rabbitmq, caplog):
    registry = configure(
        make_config(),
        rabbitmq.url,
        result_backend="cache+memory://",
        broker_transport_options={"confirm_publish": True},
    )
    commit_with(registry, lambda: add.delay(0))
    rabbitmq.freeze()
    seconds = commit_with(registry, *[lambda: add.delay(1)] * 5)
    rabbitmq.thaw()
    assert seconds < BOUND
    assert sum("was not sent" in record.getMessage() for record in caplog.records) == 5
