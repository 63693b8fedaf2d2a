"""Deliveries are completed: what is sent, and when nothing is."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import webtest
from celery import signals
from sqlalchemy import Connection, event, text
from sqlalchemy.orm import Session

from myapp.models import Customer, Delivery, DeliveryState, ReviewMessage, TaskRecord
from myapp.models.meta import utcnow
from myapp.tasks import MAX_TRIES

from .conftest import LiveWith, Saved, on_both_databases
from .webserver import Answer, Received, WebServer


def page_of(live: webtest.TestApp, delivery_id: int) -> webtest.TestResponse:
    return live.get(f"/deliveries/{delivery_id}")


def form_to(page: webtest.TestResponse, path: str) -> webtest.Form:
    [form] = [form for form in page.forms.values() if form.action.endswith(path)]
    return form


def complete(live: webtest.TestApp, delivery_id: int, **expect: Any) -> webtest.TestResponse:
    return form_to(page_of(live, delivery_id), "/complete").submit(**expect)


@on_both_databases
def test_completing_a_delivery_sends_one_message(
    live: webtest.TestApp, delivery_id: int, saved: Saved, sent_sms: list[Received]
) -> None:
    response = complete(live, delivery_id)

    assert (response.status_int, response.location) == (303, f"http://localhost/deliveries/{delivery_id}")
    with saved() as dbsession:
        delivery = dbsession.get(Delivery, delivery_id)
        message = delivery.review_message
        assert delivery.state is DeliveryState.completed
        assert message.task_id == delivery.review_task_id
        assert message.sent_at is not None
        assert (message.tries, message.error) == (1, None)
    [sms] = sent_sms
    assert sms.headers["Idempotency-Key"] == message.uuid
    assert sms.json == {
        "to": "+441632960001",
        "text": "Hello Ada O'Neill, your delivery (a clock) has arrived. How was it? "
        f"http://localhost:6543/review/{delivery.uuid}",
    }


def test_the_page_shows_what_the_tasks_did(live: webtest.TestApp, delivery_id: int, saved: Saved) -> None:
    page = complete(live, delivery_id).follow()
    with saved() as dbsession:
        task_id = dbsession.get(Delivery, delivery_id).review_task_id
    assert task_id in page.text
    assert "Hello Ada O&#39;Neill" in page.text
    assert page.html.select_one(".state").text == "sent"
    assert "/complete" not in page.text, "there is nothing left to complete"


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ({"state": "sent"}, "sent, started 0 times"),
        ({"state": "done", "starts": 1}, "done, started 1 time"),
        ({"state": "failed", "starts": 6, "error": "TooManyStarts: no"}, "failed, started 6 times: TooManyStarts: no"),
    ],
)
def test_the_page_shows_where_the_task_stands_in_the_ledger(
    live: webtest.TestApp, delivery_id: int, saved: Saved, values: dict[str, Any], shown: str
) -> None:
    with saved() as dbsession:
        delivery = dbsession.get(Delivery, delivery_id)
        delivery.complete()
        delivery.review_task_id = "a-task"
        dbsession.add(TaskRecord(id="a-task", name="send_review", created_at=utcnow(), **values))
    page = page_of(live, delivery_id).html
    assert page.find("dt", string="In the ledger").find_next("dd").text == shown


def test_the_page_does_without_a_row_of_the_ledger(live: webtest.TestApp, delivery_id: int) -> None:
    page = complete(live, delivery_id).follow()  # eagerly
    assert "In the ledger" not in page.text


@on_both_databases
def test_a_request_that_fails_changes_nothing_and_sends_nothing(
    live: webtest.TestApp, delivery_id: int, saved: Saved, sent_sms: list[Received]
) -> None:
    started: list[str] = []
    signals.task_prerun.connect(note := lambda task_id, **_: started.append(task_id))

    page = form_to(page_of(live, delivery_id), "/complete-and-fail").submit(status=500)

    signals.task_prerun.disconnect(note)
    assert "nothing is changed" in page.text
    assert [dd.text for dd in page.html.select("dd")] == ["open", "0"]
    assert (started, sent_sms) == ([], [])
    with saved() as dbsession:
        delivery = dbsession.get(Delivery, delivery_id)
        assert (delivery.state, delivery.review_task_id) == (DeliveryState.open, None)
        assert dbsession.query(ReviewMessage).count() == 0


def test_a_delivery_that_failed_once_can_be_completed_afterwards(
    live: webtest.TestApp, delivery_id: int, sent_sms: list[Received]
) -> None:
    form_to(page_of(live, delivery_id), "/complete-and-fail").submit(status=500)
    complete(live, delivery_id, status=303)
    assert len(sent_sms) == 1


def test_a_form_that_is_sent_twice_sends_one_message(
    live: webtest.TestApp, delivery_id: int, sent_sms: list[Received]
) -> None:
    form = form_to(page_of(live, delivery_id), "/complete")
    form.submit(status=303)
    form.submit(status=303)
    assert len(sent_sms) == 1


def test_failing_on_purpose_with_a_completed_delivery_says_that_there_is_nothing_to_complete(
    live: webtest.TestApp, delivery_id: int, sent_sms: list[Received]
) -> None:
    form = form_to(page_of(live, delivery_id), "/complete-and-fail")
    complete(live, delivery_id)
    assert "Already completed" in form.submit(status=409)
    assert len(sent_sms) == 1


def test_a_message_that_is_refused_stays_with_its_error(
    live: webtest.TestApp, delivery_id: int, web_server: WebServer, sent_sms: list[Received]
) -> None:
    web_server.answer = Answer(422)
    complete(live, delivery_id, status=500)  # test.ini wants the errors of eager tasks to be seen
    page = page_of(live, delivery_id)
    assert "completed" in page.text, "what was committed stays"
    assert "answered 422" in page.text
    assert page.html.select_one(".state").text == "try 1 failed"
    assert len(sent_sms) == 1


def test_a_service_in_trouble_is_tried_again_with_the_same_key(
    patient: webtest.TestApp, delivery_id: int, saved: Saved, web_server: WebServer, sent_sms: list[Received]
) -> None:
    web_server.answers = [Answer(503), Answer(429)]
    complete(patient, delivery_id)
    with saved() as dbsession:
        message = dbsession.query(ReviewMessage).one()
        assert (message.tries, message.error) == (3, None)
        assert message.sent_at is not None
    assert {sms.headers["Idempotency-Key"] for sms in sent_sms} == {message.uuid}
    assert len(sent_sms) == 3


def test_a_change_is_logged_when_it_is_saved_and_not_when_it_is_not(
    live: webtest.TestApp, delivery_id: int, caplog: pytest.LogCaptureFixture
) -> None:
    line = f"Delivery {delivery_id} is now completed"
    with caplog.at_level(logging.INFO, "myapp.subscribers"):
        form_to(page_of(live, delivery_id), "/complete-and-fail").submit(status=500)
        assert line not in caplog.messages
        complete(live, delivery_id)
        assert line in caplog.messages


def test_a_form_without_its_token_is_refused(live: webtest.TestApp, delivery_id: int, sent_sms: list[Received]) -> None:
    page = live.post(f"/deliveries/{delivery_id}/complete", status=400)
    assert "The form was refused" in page
    assert "Complete" in page_of(live, delivery_id)
    assert sent_sms == []


def test_the_address_of_a_form_shows_the_delivery_and_completes_nothing(
    live: webtest.TestApp, delivery_id: int, sent_sms: list[Received]
) -> None:
    page = live.get(f"/deliveries/{delivery_id}/complete", status=303).follow()
    assert "Hand it over" in page
    assert sent_sms == []


@on_both_databases
@pytest.mark.parametrize(
    "path", ["/deliveries/404", "/deliveries/999999999", "/deliveries/9999999999", "/deliveries/x"]
)
def test_a_delivery_that_is_not_there_is_not_found(live: webtest.TestApp, path: str) -> None:
    assert "There is nothing at this address" in live.get(path, status=404)


def test_the_list_shows_open_deliveries_first(testapp: webtest.TestApp, dbsession: Session) -> None:
    ada = Customer(name="Ada", phone="+44")
    dbsession.add_all(
        [
            Delivery(id=1, customer=ada, contents="old"),
            Delivery(id=2, customer=ada, contents="done", state=DeliveryState.completed),
            Delivery(id=3, customer=ada, contents="new"),
        ]
    )
    rows = testapp.get("/deliveries").html.select("tbody tr")
    assert [row.select_one("th").text for row in rows] == ["Delivery 3", "Delivery 1", "Delivery 2"]


def test_an_empty_list_says_how_to_fill_it(testapp: webtest.TestApp) -> None:
    assert "initialize_myapp_db" in testapp.get("/deliveries")


@on_both_databases
def test_reviews_are_closed_for_completed_deliveries_only(
    live: webtest.TestApp, delivery_id: int, saved: Saved
) -> None:
    with saved() as dbsession:
        ada = dbsession.get(Delivery, delivery_id).customer
        done = [Delivery(customer=ada, state=DeliveryState.completed) for _ in range(250)]
        dbsession.add_all(done)
    form_to(live.get("/deliveries"), "/close-reviews").submit(status=303)
    with saved() as dbsession:
        assert dbsession.query(Delivery).filter_by(reviewed=True).count() == 250
        assert not dbsession.get(Delivery, delivery_id).reviewed


def test_a_service_that_stays_in_trouble_is_given_up_and_the_page_says_so(
    patient: webtest.TestApp, delivery_id: int, web_server: WebServer, sent_sms: list[Received]
) -> None:
    web_server.answer = Answer(503)
    page = complete(patient, delivery_id, status=303).follow()
    assert len(sent_sms) == MAX_TRIES
    assert page.html.select_one(".state").text == f"try {MAX_TRIES} failed"
    assert "answered 503" in page


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_request_that_loses_a_conflict_is_run_again_and_sends_one_message(
    live_with: LiveWith,
    delivery_id: int,
    saved: Saved,
    sent_sms: list[Received],
    caplog: pytest.LogCaptureFixture,
) -> None:
    live = live_with({"sqlalchemy.isolation_level": "REPEATABLE READ"})
    form = form_to(page_of(live, delivery_id), "/complete")
    attempts: list[int] = []

    def lose(session: Session, transaction: Any, connection: Connection) -> None:
        connection.execute(text("SELECT 1"))  # from here on the request sees the database as it is now
        attempts.append(1)
        if len(attempts) == 1:
            with saved() as dbsession:
                dbsession.get(Delivery, delivery_id).contents = "changed by somebody else"

    event.listen(live.app.registry["dbsession_factory"], "after_begin", lose)
    form.submit(status=303)

    assert len(attempts) >= 2
    assert len(sent_sms) == 1
    assert "changed by somebody else" in sent_sms[0].json["text"]
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


def test_where_messages_are_only_logged_the_page_says_so(
    live_with: LiveWith, delivery_id: int, sent_sms: list[Received]
) -> None:
    live = live_with({"sms.service": "console"})
    page = complete(live, delivery_id).follow()
    assert page.html.select_one(".state").text == "sent"
    assert "sent to the log of the worker" in page
    assert sent_sms == []
