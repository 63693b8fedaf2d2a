"""How a task may end, and what its row says then."""

import pytest
from celery.exceptions import Ignore, Reject

from pyramid_celery_tm import RequestAwareTask, TransactionalTask
from pyramid_celery_tm.app import celery_app
from pyramid_celery_tm.exceptions import TransactionEnded
from tests.application import Note, texts
from tests.messages import call, registry, row_of, run, task

__all__ = ["registry", "task"]


@pytest.mark.parametrize(
    ("error", "state"), [(Ignore(), "done"), (Reject(requeue=False), "failed"), (Reject(requeue=True), "sent")]
)
@pytest.mark.parametrize("base", [TransactionalTask, RequestAwareTask])
def test_a_task_may_ignore_or_reject_its_message(registry, redis_url, task, error, state, base):
    def ends(request):
        raise error

    message = call(redis_url, task(ends, base=base))
    run(message)
    assert row_of(registry, message).state == state


def commits(request):
    request.tm.commit()


def begins_another(request):
    request.tm.abort()
    request.tm.begin()
    request.dbsession.add(Note(text="never"))


def commits_another(request):
    begins_another(request)
    request.tm.commit()


@pytest.mark.parametrize("body", [commits, begins_another, commits_another])
def test_a_task_may_not_end_its_transaction_and_go_on(registry, redis_url, task, body):
    message = call(redis_url, task(body))
    assert run(message)[1] == "FAILURE"
    assert isinstance(celery_app.AsyncResult(message["id"]).result, TransactionEnded)
    assert texts(registry) == []
    assert row_of(registry, message).state == "failed"


@pytest.mark.parametrize("end", ["abort", "doom"])
def test_a_task_may_throw_its_work_away(registry, redis_url, task, end):
    def gives_up(request):
        request.dbsession.add(Note(text="never"))
        getattr(request.tm, end)()
        return "nothing"

    message = call(redis_url, task(gives_up))
    assert run(message) == ("nothing", None)
    assert texts(registry) == []
    row = row_of(registry, message)
    assert (row.state, row.result) == ("done", '"nothing"')


def test_what_a_task_returns_must_be_kept_unless_nobody_asks(registry, redis_url, task):
    def returns(request):
        request.dbsession.add(Note(text="returned"))
        return object()

    message = call(redis_url, task(returns))
    assert run(message)[1] == "FAILURE"
    assert texts(registry) == []
    celery_app.tasks["test.returns"].ignore_result = True
    message = call(redis_url, celery_app.tasks["test.returns"])
    assert run(message)[1] is None
    assert texts(registry) == ["returned"]
