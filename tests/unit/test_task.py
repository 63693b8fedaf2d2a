import logging

import pytest
import transaction
import zope.sqlalchemy
from celery.exceptions import Ignore, Reject
from pyramid.threadlocal import get_current_request
from pyramid_retry import RetryableException, mark_error_retryable

from pyramid_celery_tm import RequestAwareTask, TransactionalTask
from pyramid_celery_tm.app import celery_app
from pyramid_celery_tm.deferral import open_transaction
from pyramid_celery_tm.exceptions import ForeignTransaction, NotConfigured
from pyramid_celery_tm.request import open_request
from tests.application import Note, add, bound_add, configure, make_config, queued, texts


@pytest.fixture
def registry(postgresql_url, redis_url):
    return configure(make_config(postgresql_url), redis_url)


def transactional(function, **options):
    """A task of one test; it runs as in a worker by ``apply``."""
    return celery_app.task(
        base=TransactionalTask, name=f"test.{function.__name__}", lazy=False, shared=False, **options
    )(function)


def aware(function, **options):
    return celery_app.task(
        base=RequestAwareTask, name=f"test.{function.__name__}", lazy=False, shared=False, **options
    )(function)


@pytest.fixture(autouse=True)
def no_tasks_are_left():
    yield
    for name in [name for name in celery_app.tasks if name.startswith("test.")]:
        del celery_app.tasks[name]


def test_everything_happens_in_one_transaction_that_commits_at_the_end(registry):
    def body(request, text):
        request.dbsession.add(Note(text=text))
        assert texts(registry) == []
        assert request.environ["tm.active"]
        return text

    assert transactional(body).apply(("kept",)).get() == "kept"
    assert texts(registry) == ["kept"]


@pytest.mark.parametrize("error", [ValueError("x"), Ignore(), Reject("x")])
def test_an_exception_aborts(registry, error):
    def body(request):
        request.dbsession.add(Note(text="undone"))
        request.dbsession.flush()
        raise error

    transactional(body).apply()
    assert texts(registry) == []


def test_an_interrupt_aborts_and_goes_on(registry):
    def body(request):
        request.dbsession.add(Note(text="undone"))
        request.dbsession.flush()
        raise SystemExit

    with pytest.raises(SystemExit):
        transactional(body)()
    assert texts(registry) == []


def test_a_failing_commit_fails_the_task(registry):
    def body(request):
        request.dbsession.add(Note(text="orphan", parent_id=999))
        return "not yet"

    result = transactional(body).apply()
    assert result.state == "FAILURE"
    assert "IntegrityError" in result.traceback


def test_a_doomed_transaction_is_aborted_and_the_task_succeeds(registry):
    def body(request):
        request.dbsession.add(Note(text="undone"))
        request.dbsession.flush()
        request.tm.doom()
        return "done"

    assert transactional(body).apply().get() == "done"
    assert texts(registry) == []


def test_a_task_may_end_its_transaction_by_itself(registry):
    def commits(request):
        request.dbsession.add(Note(text="kept"))
        request.tm.commit()

    def aborts_and_fails(request):
        request.tm.abort()
        raise ValueError

    assert transactional(commits).apply().state == "SUCCESS"
    assert transactional(aborts_and_fails).apply().state == "FAILURE"
    assert texts(registry) == ["kept"]


def test_request_and_session_are_the_tasks_own(registry):
    seen = []

    def body(request):
        seen.append((request, request.dbsession, request.tm))
        assert get_current_request() is request

    with open_request(registry) as outer:
        task = transactional(body)
        task.apply()
        task.apply()
        assert get_current_request() is outer
    assert len({id(thing) for things in seen for thing in things}) == 6


def test_finished_callbacks_run_after_the_commit(registry):
    seen = []

    def body(request, fail):
        request.dbsession.add(Note(text="kept"))
        request.add_finished_callback(lambda request: seen.append(texts(registry)))
        if fail:
            raise ValueError

    transactional(body).apply((False,))
    transactional(body).apply((True,))
    assert seen == [["kept"], ["kept"]]


class Conflict(transaction.interfaces.TransientError):
    pass


CONFLICTS = [Conflict, RetryableException]


@pytest.mark.parametrize("error", CONFLICTS)
def test_a_conflict_runs_the_task_again_with_a_fresh_request_and_drops_the_calls_of_the_failed_attempt(
    registry, redis_url, error
):
    seen = []

    def body(request):
        seen.append(request)
        request.dbsession.add(Note(text=f"attempt {len(seen)}"))
        add.delay(len(seen))
        if len(seen) < 3:
            raise error

    assert transactional(body).apply().state == "SUCCESS"
    assert len({id(request) for request in seen}) == 3
    assert texts(registry) == ["attempt 3"]
    assert [message["args"] for message in queued(redis_url)] == [[3]]


def test_an_error_marked_for_pyramid_retry_is_a_conflict(registry):
    seen = []

    def body(request):
        seen.append(1)
        if len(seen) == 1:
            error = ValueError("marked")
            mark_error_retryable(error)
            raise error

    assert transactional(body).apply().state == "SUCCESS"
    assert len(seen) == 2


def test_a_conflict_without_end_is_the_failure_of_the_task(registry):
    seen = []

    def body(request):
        seen.append(1)
        raise Conflict("again")

    result = transactional(body).apply()
    assert isinstance(result.result, Conflict)
    assert len(seen) == 3


def test_the_number_of_attempts_is_a_setting_of_application_and_task(redis_url):
    seen = []
    configure(make_config(**{"tasks.attempts": "2"}), redis_url)

    def body(request):
        seen.append(1)
        raise Conflict

    transactional(body).apply()
    assert len(seen) == 2
    celery_app.tasks.pop("test.body")
    transactional(body, attempts=5).apply()
    assert len(seen) == 7


def test_a_request_aware_task_begins_and_commits_as_it_likes(registry):
    def body(request):
        for text in "ab":
            with request.tm:
                request.dbsession.add(Note(text=text))
        with pytest.raises(ZeroDivisionError), request.tm:
            request.dbsession.add(Note(text="undone"))
            1 / 0  # noqa: B018

    aware(body).apply()
    assert texts(registry) == ["a", "b"]


def test_what_a_task_writes_through_the_threads_manager_is_neither_lost_in_silence_nor_leaked(registry):
    def body(request, text):
        session = registry["dbsession_factory"]()
        zope.sqlalchemy.register(session)  # with transaction.manager, as before pyramid_tm had request.tm
        session.add(Note(text=text))
        session.flush()
        if text == "fails":
            raise ValueError

    task = transactional(body)
    assert isinstance(task.apply(("lost",)).result, ForeignTransaction)
    assert isinstance(task.apply(("fails",)).result, ValueError)
    assert open_transaction(transaction.manager) is None
    assert texts(registry) == []


def test_what_a_request_aware_task_leaves_open_in_the_threads_manager_is_aborted_too(registry, caplog):
    def body(request):
        transaction.manager.begin()

    aware(body).apply()
    assert "task test.body left a transaction open" in caplog.text
    assert open_transaction(transaction.manager) is None


def test_what_a_request_aware_task_leaves_open_is_aborted_with_a_warning(registry, caplog):
    def body(request):
        request.tm.begin()
        request.dbsession.add(Note(text="undone"))
        request.dbsession.flush()

    with caplog.at_level(logging.WARNING):
        aware(body).apply()
    assert "task test.body left a transaction open" in caplog.text
    assert texts(registry) == []


def test_a_call_in_a_request_aware_task_leaves_at_once_unless_inside_a_transaction(registry, redis_url):
    def body(request):
        add.delay(1)
        assert len(queued(redis_url)) == 1
        with request.tm:
            add.delay(2)
            assert len(queued(redis_url)) == 1
        assert len(queued(redis_url)) == 2

    assert aware(body).apply().state == "SUCCESS"


def test_calls_of_a_transactional_task_leave_at_its_commit_or_not_at_all(registry, redis_url):
    def body(request, fail):
        add.delay(1)
        assert queued(redis_url) == []
        if fail:
            raise ValueError

    transactional(body).apply((True,))
    assert queued(redis_url) == []
    transactional(body).apply((False,))
    assert len(queued(redis_url)) == 1


def test_called_with_a_request_a_task_runs_inline_in_that_requests_transaction(registry):
    def body(request, text):
        request.dbsession.add(Note(text=text))
        return request

    with open_request(registry) as request:
        request.tm.begin()
        assert transactional(body)(request, "inline") is request
        request.tm.abort()
    assert texts(registry) == []


def test_called_without_a_request_a_task_runs_inline_with_a_request_of_its_own(registry):
    assert add(1, 2) == 3
    assert bound_add(1, y=2) == 3


def test_run_is_the_function_itself():
    assert add.run("request", 1, 2) == 3


def test_a_task_that_calls_itself_directly_gets_a_second_request(registry):
    seen = []

    def body(self, request, depth):
        seen.append(request)
        if depth:
            self(depth - 1)

    transactional(body, bind=True).apply((1,))
    outer, inner = seen
    assert outer is not inner
    assert outer.tm is not inner.tm


def test_a_class_task_gets_the_request_too(registry):
    class Shout(TransactionalTask):
        name = "test.shout"

        def run(self, request, text):
            assert request.tm is not None
            return text.upper()

    task = celery_app.register_task(Shout())
    assert task.apply(("a",)).get() == "A"
    with pytest.raises(TypeError, match="missing 1 required"):
        task.delay()


def test_without_an_application_a_task_says_what_to_do(registry, monkeypatch):
    monkeypatch.setitem(celery_app.conf, "PYRAMID_REGISTRY", None)
    with pytest.raises(NotConfigured, match=r"task add has no Pyramid application: call config.configure_celery"):
        add(1, 2)
