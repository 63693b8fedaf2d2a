import logging

import pytest
from celery import chain, chord, group
from pyramid.threadlocal import get_current_request
from webtest import TestApp

from pyramid_celery_tm import TransactionalTask, eager
from pyramid_celery_tm.app import celery_app
from pyramid_celery_tm.current import find_place
from pyramid_celery_tm.exceptions import NotSerializable, ResultNotAvailable
from pyramid_celery_tm.request import open_request
from tests.application import Note, add, configure, make_config, texts, total, write

EAGER = {"task_always_eager": True, "task_eager_propagates": True}


@pytest.fixture
def registry(postgresql_url, redis_url):
    return configure(make_config(postgresql_url), redis_url, **EAGER)


@pytest.fixture
def quiet(postgresql_url, redis_url):
    """Eager, but errors stay with the result."""
    return configure(make_config(postgresql_url), redis_url, task_always_eager=True)


def test_an_eager_task_runs_after_the_commit_and_its_writes_are_kept(registry):
    with open_request(registry) as request, request.tm:
        request.dbsession.add(Note(text="caller"))
        result = write.delay("task")
        request.dbsession.flush()
        assert not result.ready()
    assert result.get() == "task"
    assert texts(registry) == ["caller", "task"]


def test_an_eager_task_does_not_run_when_the_transaction_aborts(registry):
    with open_request(registry) as request:
        request.tm.begin()
        result = write.delay("task")
        with pytest.raises(ResultNotAvailable, match="has not committed"):
            result.get()
        request.tm.abort()
    assert texts(registry) == []


def test_without_a_transaction_an_eager_task_runs_at_once(registry):
    assert write.delay("task").get() == "task"
    assert texts(registry) == ["task"]


def test_the_error_of_an_eager_task_reaches_the_code_that_committed_after_everything_else(registry):
    with open_request(registry) as request:
        request.tm.begin()
        request.dbsession.add(Note(text="caller"))
        write.delay("fails", fail=True)
        write.delay("later")
        with pytest.raises(ValueError, match="fails"):
            request.tm.commit()
    assert texts(registry) == ["caller", "later"]


def test_without_propagation_the_error_stays_with_the_result_and_is_logged(quiet, caplog):
    with caplog.at_level(logging.ERROR), open_request(quiet) as request, request.tm:
        result = write.delay("fails", fail=True)
    assert result.state == "FAILURE"
    assert "ValueError" in caplog.text
    with pytest.raises(ValueError, match="fails"):
        result.get()


def test_in_a_web_request_the_error_reaches_the_exception_view(postgresql_url, redis_url):
    config = make_config(postgresql_url)
    config.add_view(lambda request: write.delay("fails", fail=True) and {}, route_name="page", renderer="json")
    config.add_exception_view(lambda error, request: {"error": str(error)}, context=ValueError, renderer="json")
    configure(config, redis_url, **EAGER)
    assert TestApp(config.make_wsgi_app()).get("/page/1").json == {"error": "fails"}


def test_in_a_web_request_without_an_exception_view_the_error_comes_out_as_it_is(postgresql_url, redis_url):
    config = make_config(postgresql_url)
    config.add_view(lambda request: write.delay("fails", fail=True) and {}, route_name="page", renderer="json")
    registry = configure(config, redis_url, **EAGER)
    app = TestApp(config.make_wsgi_app())
    for _ in range(2):
        with pytest.raises(ValueError, match="fails"):
            app.get("/page/1")
    assert texts(registry) == []


def test_the_request_of_an_eager_task_is_not_the_callers(registry):
    seen = []
    task = celery_app.task(base=TransactionalTask, name="test.seen", lazy=False, shared=False)(remember(seen))
    with open_request(registry) as request, request.tm:
        task.delay()
        task.delay(request)
    assert request not in seen
    assert len(seen) == 2
    del celery_app.tasks["test.seen"]


def remember(seen):
    def body(request):
        seen.append(request)

    return body


def test_arguments_make_the_round_trip_of_a_message(registry):
    with open_request(registry) as request:
        request.tm.begin()
        with pytest.raises(NotSerializable, match="task add"):
            add.delay(object())
        result = add.delay((1,), [2])
        request.tm.commit()
        assert result.get() == [1, 2]


def test_tasks_called_by_an_eager_task_run_at_its_own_commit(registry):
    with open_request(registry) as request, request.tm:
        result = write.delay("outer")
    assert result.get() == "outer"


CANVAS = {
    "group": (lambda: group(write.s("a"), write.s("b"))(), ["a", "b"], ["a", "b"]),
    "chain": (lambda: chain(write.s("a"), write.s(), add.s("c"))(), ["a", "a"], "ac"),
    "chain by pipe": (lambda: (write.s("a") | add.s("b")).delay(), ["a"], "ab"),
    "chord": (lambda: chord([add.s(1, 1), add.s(2, 2)])(total.s()), [], 6),
    "group in a chain": (lambda: (group(add.s(1, 1), add.s(2, 2)) | total.s() | add.s(1)).delay(), [], 7),
    "chunks": (lambda: add.chunks([(1, 1), (2, 2)], 1).apply_async(), [], [[2], [4]]),
    "link": (lambda: write.apply_async(("a",), link=write.s()), ["a", "a"], "a"),
    "with the request": (lambda: chain(write.s(get_current_request(), "a"), add.s("b"))(), ["a"], "ab"),
}


@pytest.mark.parametrize("kind", CANVAS)
def test_an_eager_canvas_runs_after_the_commit_too(registry, kind):
    call, written, value = CANVAS[kind]
    with open_request(registry) as request:
        request.tm.begin()
        result = call()
        assert texts(registry) == []
        with pytest.raises(ResultNotAvailable):
            result.get()
        request.tm.commit()
    assert texts(registry) == written
    assert result.get() == value


@pytest.mark.parametrize("kind", CANVAS)
def test_an_eager_canvas_does_not_run_when_the_transaction_aborts(registry, kind):
    with open_request(registry) as request:
        request.tm.begin()
        CANVAS[kind][0]()
        request.tm.abort()
    assert texts(registry) == []


def test_an_explicit_apply_runs_here_and_now(registry):
    with open_request(registry) as request, request.tm:
        assert chain(add.s(1, 1), add.s(1)).apply().get() == 3
        assert add.apply((1, 1)).get() == 2
        assert group(add.s(1, 1)).apply().get() == [2]


def test_an_eager_chain_ends_at_its_first_failure(registry, quiet):
    with open_request(quiet) as request, request.tm:
        result = chain(write.s("a", fail=True), write.s(), write.s())()
    assert result.state == "FAILURE"
    assert texts(quiet) == []


def test_an_eager_chain_whose_error_propagates_ends_there_as_well(registry):
    with open_request(registry) as request:
        request.tm.begin()
        result = chain(write.s("a", fail=True), write.s())()
        with pytest.raises(ValueError, match="a"):
            request.tm.commit()
    assert isinstance(result.result, ValueError)
    assert texts(registry) == []


def test_a_promise_may_stand_in_a_keyword(registry):
    with open_request(registry) as request, request.tm:
        first = add.delay(1, 1)
        result = eager.hold_call(
            find_place(), celery_app.tasks["add"].apply, celery_app.tasks["add"], (1,), {"y": first}, {"task_id": "x"}
        )
    assert result.get() == 3


def test_an_eager_task_may_be_replaced(registry):
    def body(self, request):
        return self.replace(add.si(1, 1))

    task = celery_app.task(base=TransactionalTask, name="test.replaced", bind=True, lazy=False, shared=False)(body)
    assert task.apply().get() == 2
    del celery_app.tasks["test.replaced"]
