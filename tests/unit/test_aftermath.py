"""What the ledger is told when a task is over."""

import pytest
from celery import chain
from celery.exceptions import TimeLimitExceeded, WorkerLostError
from sqlalchemy.exc import OperationalError

from pyramid_celery_tm import delivery
from pyramid_celery_tm.app import celery_app
from tests.application import add, plain, write
from tests.messages import call, context, messages, registry, row_of, run, task
from tests.services import wait_until

__all__ = ["registry", "task"]


def test_followers_that_could_not_be_noted_are_sent_again(registry, redis_url, monkeypatch, caplog):
    def gone(*args, **options):
        raise OperationalError("update", {}, ValueError("gone"))

    message = call(redis_url, add, 1, link=add.s())
    monkeypatch.setattr(delivery.inbox, "finish", gone)
    run(message)
    assert "what became of it could not be written" in caplog.text
    assert row_of(registry, message).state == "answered"


def test_a_result_backend_that_fails_after_the_commit_fails_no_task(registry, redis_url, monkeypatch, caplog):
    message = call(redis_url, chain(add.s(1, 2), add.s(3)))
    real = celery_app.backend.store_result

    def down(*args, **options):
        raise ConnectionError("the result backend is down")

    monkeypatch.setattr(celery_app.backend, "store_result", down)
    with pytest.warns(RuntimeWarning, match="the result backend is down"):
        run(message)
    assert "what follows it is tried again" in caplog.text
    assert row_of(registry, message).state == "answered"
    monkeypatch.setattr(celery_app.backend, "store_result", real)
    messages(redis_url)
    assert run(message) == (3, None)
    assert row_of(registry, message).state == "done"


def test_a_result_backend_that_fails_at_a_retry_fails_no_task(registry, redis_url, task, monkeypatch):
    def asks(self, request):
        self.retry(countdown=0)

    def down(*args, **options):
        raise ConnectionError("the result backend is down")

    message = call(redis_url, task(asks, bind=True), link_error=plain.s())
    monkeypatch.setattr(celery_app.backend, "store_result", down)
    with pytest.warns(RuntimeWarning, match="the result backend is down"):
        run(message)
    assert [sent["task"] for sent in messages(redis_url)] == ["test.asks"]
    assert row_of(registry, message).retries == 1


def test_a_child_that_was_killed_fails_no_task(registry, redis_url, caplog):
    message = call(redis_url, write, "hello")
    task, request = context(message)
    before = row_of(registry, message).due_at
    task.backend.mark_as_failure(message["id"], WorkerLostError("killed"), request=request)
    wait_until(lambda: row_of(registry, message).due_at < before, 10, "it to be due")
    assert celery_app.AsyncResult(message["id"]).state == "PENDING"
    assert "lost its worker and is sent again" in caplog.text


def test_a_child_that_was_killed_for_its_time_fails_its_task(registry, redis_url):
    message = call(redis_url, write, "hello")
    task, request = context(message)
    task.backend.mark_as_failure(message["id"], TimeLimitExceeded(5), request=request)
    wait_until(lambda: row_of(registry, message).state == "failed", 10, "the failure")
    assert celery_app.AsyncResult(message["id"]).state == "FAILURE"


def test_failures_of_strangers_are_celerys_own_business(registry):
    celery_app.backend.mark_as_failure("a", WorkerLostError("killed"))
    celery_app.send_task("plain", task_id="b")
    celery_app.backend.mark_as_failure("b", ValueError("x"), request=celery_app.tasks["plain"].request)
    assert celery_app.AsyncResult("a").state == celery_app.AsyncResult("b").state == "FAILURE"
