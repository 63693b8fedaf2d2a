import logging

from celery import group
from pyramid.testing import DummyRequest
from sqlalchemy import event

from pyramid_celery_tm import on_commit
from pyramid_celery_tm.current import at_once, is_request
from tests.application import Note, add, configure, make_config, queued


def test_a_function_is_called_at_the_commit_in_order(tm):
    called = []
    for number in range(3):
        on_commit(lambda number=number: called.append(number))
    assert called == []
    tm.commit()
    assert called == [0, 1, 2]


def test_a_function_is_not_called_when_the_transaction_aborts(tm):
    called = []
    on_commit(lambda: called.append(1))
    tm.abort()
    assert called == []


def test_a_function_goes_with_its_savepoint(tm):
    called = []
    savepoint = tm.savepoint()
    on_commit(lambda: called.append(1))
    savepoint.rollback()
    tm.commit()
    assert called == []


def test_without_a_transaction_a_function_is_called_at_once(request_):
    called = []
    on_commit(lambda: called.append(1))
    assert called == [1]


def test_request_and_manager_may_be_given_by_hand(registry):
    import transaction

    called = []
    tm = transaction.TransactionManager(explicit=True)
    with tm:
        on_commit(lambda: called.append("tm"), tm=tm)
        on_commit(lambda: called.append("request"), request=DummyRequest(tm=tm))
        assert called == []
    assert called == ["tm", "request"]


def test_an_exception_in_one_function_is_logged_and_does_not_stop_the_others(tm, caplog):
    called = []

    def fail():
        raise ValueError("boom")

    on_commit(fail)
    on_commit(lambda: called.append(1))
    with caplog.at_level(logging.ERROR):
        tm.commit()
    assert called == [1]
    assert "on_commit failed; the commit stands" in caplog.text
    assert "boom" in caplog.text


def test_tasks_called_by_functions_leave_with_the_rest_in_order(tm, redis_url):
    on_commit(lambda: add.delay(2))
    add.delay(1)
    on_commit(lambda: group(add.s(number) for number in (3, 4))())
    tm.commit()
    assert [message["args"] for message in queued(redis_url)] == [[2], [1], [3], [4]]


def test_it_works_in_an_event_listener_of_sqlalchemy_even_during_the_flush_of_the_commit(postgresql_url, redis_url):
    from pyramid_celery_tm.request import open_request

    registry = configure(make_config(postgresql_url), redis_url)
    listener = event.listens_for(Note, "after_insert")
    remember = listener(lambda mapper, connection, note: on_commit(lambda text=note.text: add.delay(text)))
    direct = listener(lambda mapper, connection, note: add.delay("direct"))
    try:
        with open_request(registry) as request, request.tm:
            request.dbsession.add(Note(text="flushed by the commit"))
    finally:
        event.remove(Note, "after_insert", remember)
        event.remove(Note, "after_insert", direct)
    assert [message["args"] for message in queued(redis_url)] == [["flushed by the commit"], ["direct"]]


def test_within_at_once_nothing_waits(tm, redis_url):
    with at_once():
        add.delay(1)
    assert len(queued(redis_url)) == 1
    add.delay(2)
    assert len(queued(redis_url)) == 1


def test_what_a_request_is():
    assert is_request(DummyRequest())
    assert not is_request("request")
