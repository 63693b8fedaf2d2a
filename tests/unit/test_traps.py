"""Traps of the parts, each as it was measured, so that a new version of a part that changes one is noticed."""

import logging

import pytest
from celery import Celery, group, shared_task
from pyramid.testing import DummyRequest
from webtest import TestApp

from pyramid_celery_tm import TransactionalTask
from pyramid_celery_tm.app import celery_app
from pyramid_celery_tm.request import open_request
from tests.application import Note, add, configure, make_config, queued, texts


def test_sqlite_refuses_savepoints_and_the_transaction_can_only_be_aborted(tmp_path, redis_url):
    registry = configure(make_config(f"sqlite:///{tmp_path}/notes.sqlite"), redis_url)
    with open_request(registry) as request:
        request.tm.begin()
        request.dbsession.add(Note(text="a"))
        request.dbsession.flush()
        add.delay(1)
        with pytest.raises(TypeError, match="Savepoints unsupported"):
            request.tm.savepoint()
        request.tm.abort()
        assert queued(redis_url) == []
        with request.tm:
            add.delay(2)
    assert [message["args"] for message in queued(redis_url)] == [[2]]


class VotesNo:
    """Sorts after the database, whose COMMIT is done by the time it votes."""

    transaction_manager = None

    def sortKey(self):
        return "~~last"

    def tpc_vote(self, transaction):
        raise RuntimeError("no")

    def __getattr__(self, name):
        return lambda *args: None


def test_what_votes_no_after_the_commit_of_the_database_keeps_the_tasks_back(postgresql_url, redis_url):
    registry = configure(make_config(postgresql_url), redis_url)
    with open_request(registry) as request:
        request.tm.begin()
        request.dbsession.add(Note(text="committed all the same"))
        request.dbsession.flush()
        add.delay(1)
        request.tm.get().join(VotesNo())
        with pytest.raises(RuntimeError, match="no"):
            request.tm.commit()
        request.tm.abort()
    assert texts(registry) == ["committed all the same"]
    assert queued(redis_url) == []


def test_an_error_in_somebody_elses_hook_does_not_keep_the_tasks_back(tm, redis_url, caplog):
    tm.get().addAfterCommitHook(lambda committed: 1 / 0)
    add.delay(1)
    with caplog.at_level(logging.ERROR):
        tm.commit()
    assert len(queued(redis_url)) == 1


def test_a_group_passes_a_producer_that_is_dead_at_the_commit(tm, redis_url):
    group(add.s(number) for number in range(3)).apply_async()
    tm.commit()
    assert [message["args"] for message in queued(redis_url)] == [[0], [1], [2]]


def test_a_shared_task_runs_in_this_app_and_not_in_one_that_was_made_before(registry):
    other = Celery("other", set_as_current=False)

    @shared_task(name="test.twice", base=TransactionalTask)
    def twice(request, x):
        return 2 * x

    assert twice.app is celery_app
    assert twice.apply((2,)).get() == 4
    assert other.tasks["test.twice"].app is other
    del celery_app.tasks["test.twice"]


RESPONSES = {
    "a page": (lambda request: {}, {}, 200, 1),
    "an error": (lambda request: 1 / 0, {}, None, 0),
    "an abort": (lambda request: request.tm.abort() or (request.tm.begin() and {}), {}, 200, 0),
    "a doomed transaction": (lambda request: request.tm.doom() or {}, {}, 200, 0),
    "a veto of 4xx": (
        lambda request: setattr(request.response, "status", 404) or {},
        {"tm.commit_veto": "pyramid_tm.default_commit_veto"},
        404,
        0,
    ),
    "a 4xx without a veto": (lambda request: setattr(request.response, "status", 404) or {}, {}, 404, 1),
    "a veto by header": (
        lambda request: request.response.headers.update({"X-Tm": "abort"}) or {},
        {"tm.commit_veto": "pyramid_tm.default_commit_veto"},
        200,
        0,
    ),
}


@pytest.mark.parametrize("kind", RESPONSES)
def test_a_task_follows_the_transaction_of_the_web_request(redis_url, kind):
    finish, settings, status, sent = RESPONSES[kind]

    def view(request):
        add.delay(1)
        return finish(request)

    config = make_config(**settings)
    config.add_view(view, route_name="page", renderer="json")
    configure(config, redis_url)
    app = TestApp(config.make_wsgi_app())
    if status is None:
        with pytest.raises(ZeroDivisionError):
            app.get("/page/1")
    else:
        app.get("/page/1", status=status)
    assert len(queued(redis_url)) == sent


def test_a_request_that_pyramid_retry_runs_again_sends_only_what_its_last_attempt_called(redis_url):
    from pyramid_retry import RetryableException

    attempts = []

    def view(request):
        attempts.append(1)
        add.delay(len(attempts))
        if len(attempts) < 3:
            raise RetryableException
        return {}

    config = make_config()
    config.include("pyramid_retry")
    config.add_view(view, route_name="page", renderer="json")
    configure(config, redis_url)
    TestApp(config.make_wsgi_app()).get("/page/1")
    assert [message["args"] for message in queued(redis_url)] == [[3]]


def test_a_call_in_a_finished_callback_leaves_at_once(redis_url):
    def view(request):
        request.add_finished_callback(lambda request: add.delay(request, 2))
        request.add_response_callback(lambda request, response: add.delay(request, 1))
        return {}

    config = make_config()
    config.add_view(view, route_name="page", renderer="json")
    configure(config, redis_url)
    TestApp(config.make_wsgi_app()).get("/page/1")
    assert sorted(message["args"] for message in queued(redis_url)) == [[1], [2]]


def test_a_call_with_an_implicit_manager_after_its_transaction_leaves_at_once(registry, redis_url):
    import transaction

    manager = transaction.TransactionManager(explicit=False)
    manager.begin()
    manager.commit()
    add.delay(DummyRequest(tm=manager), 1)
    assert len(queued(redis_url)) == 1


def test_the_doomed_transaction_of_a_test_suite_still_tells_what_it_holds(tm):
    from pyramid_celery_tm.deferral import calls_of

    tm.doom()
    add.delay(1)
    assert [call.item.name for call in calls_of(tm).waiting()] == ["add"]
