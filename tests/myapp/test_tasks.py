"""The tasks, called directly and by their names."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

import pytest
import webtest
from sqlalchemy import Engine, event
from sqlalchemy.exc import NoResultFound

from myapp import tasks
from myapp.models import Delivery, ReviewMessage
from pyramid_celery_tm import celery_app

from .conftest import Saved, on_both_databases
from .test_deliveries import complete
from .webserver import Answer, Received, WebServer

pytestmark = pytest.mark.usefixtures("app")


def test_an_ordinary_task_is_one_of_celerys() -> None:
    assert tasks.add.delay(1, 2).get() == 3


def test_a_heavy_task_goes_to_its_own_queue(caplog: pytest.LogCaptureFixture) -> None:
    assert celery_app.amqp.router.route({}, tasks.heavy.name, task_type=tasks.heavy)["queue"].name == "heavy"
    with caplog.at_level(logging.INFO, "myapp.tasks"):
        tasks.heavy.delay(7)
    assert "** Heavy 7" in caplog.messages


def test_the_schedule_finds_its_tasks() -> None:
    scheduled = {entry["task"] for entry in celery_app.conf.beat_schedule.values()}
    assert scheduled == {"backup", "update_conversion_rates"}
    assert scheduled <= set(celery_app.tasks)


def test_the_message_of_a_delivery_that_is_not_there_fails() -> None:
    with pytest.raises(NoResultFound):
        tasks.send_review_sms_notification.delay(404)


@on_both_databases
def test_a_second_copy_of_a_task_writes_and_sends_nothing_more(
    live: webtest.TestApp, delivery_id: int, saved: Saved, sent_sms: list[Received]
) -> None:
    complete(live, delivery_id)
    tasks.send_review_sms_notification.delay(delivery_id)
    with saved() as dbsession:
        [message] = dbsession.query(ReviewMessage)
    tasks.deliver_message.delay(message.id)
    assert len(sent_sms) == 1


def test_a_message_that_is_gone_is_not_sent(sent_sms: list[Received]) -> None:
    tasks.deliver_message.delay(404)
    assert sent_sms == []


def test_no_transaction_is_open_while_the_service_thinks(
    live: webtest.TestApp, delivery_id: int, saved: Saved, web_server: WebServer
) -> None:
    """On SQLite one transaction locks out all others: this one could not begin before the service's time is over."""

    def look_meanwhile() -> Iterable[bytes]:
        with saved() as dbsession:
            message = dbsession.query(ReviewMessage).one()
            seen.append((message.tries, message.sent_at))
        yield b"{}"

    seen: list[Any] = []
    web_server.answer = Answer(body=look_meanwhile())
    complete(live, delivery_id)
    assert seen == [(1, None)]


def test_a_worker_that_dies_before_it_has_noted_the_sending_sends_again_with_the_same_key(
    live: webtest.TestApp, delivery_id: int, saved: Saved, sent_sms: list[Received]
) -> None:
    complete(live, delivery_id)
    with saved() as dbsession:
        message = dbsession.query(ReviewMessage).one()
        message.sent_at = None  # as if the worker had died here; the broker delivers the task again
    tasks.deliver_message.delay(message.id)
    assert [sms.headers["Idempotency-Key"] for sms in sent_sms] == [message.uuid, message.uuid]


def test_batches_are_transactions_of_their_own(
    delivery_id: int, saved: Saved, dbengine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with saved() as dbsession:
        customer = dbsession.get(Delivery, delivery_id).customer
        deliveries = [Delivery(customer=customer) for _ in range(5)]
        dbsession.add_all(deliveries)
    ids = [delivery.id for delivery in deliveries]
    commits: list[object] = []
    event.listen(dbengine, "commit", commits.append)
    monkeypatch.setattr(tasks, "BATCH", 2)
    tasks.send_in_batches.delay(ids)
    assert len(commits) == 3
    with saved() as dbsession:
        assert {row.id for row in dbsession.query(Delivery).filter_by(reviewed=True)} == set(ids)
