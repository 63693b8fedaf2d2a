"""SQLAlchemy's own savepoints, on PostgreSQL: zope.sqlalchemy refuses savepoints with SQLite."""

import pytest

from pyramid_celery_tm import on_commit
from pyramid_celery_tm.request import open_request
from tests.application import Note, add, configure, make_config, queued, texts


@pytest.fixture
def registry(postgresql_url, redis_url):
    return configure(make_config(postgresql_url), redis_url)


@pytest.fixture
def sent(redis_url):
    return lambda: [message["args"][0] for message in queued(redis_url)]


def write(request, text):
    request.dbsession.add(Note(text=text))
    request.dbsession.flush()
    add.delay(text)


class Undo(Exception):
    pass


def test_begin_nested_that_is_rolled_back_takes_its_calls_along(registry, sent):
    with open_request(registry) as request, request.tm:
        write(request, "before")
        with pytest.raises(Undo), request.dbsession.begin_nested():
            write(request, "inside")
            raise Undo
        write(request, "after")
    assert sent() == texts(registry) == ["before", "after"]


def test_begin_nested_that_is_released_keeps_them(registry, sent):
    with open_request(registry) as request, request.tm:
        with request.dbsession.begin_nested():
            write(request, "inside")
    assert sent() == texts(registry) == ["inside"]


def test_an_inner_block_that_was_released_goes_with_the_outer_one(registry, sent):
    with open_request(registry) as request, request.tm:
        with pytest.raises(Undo), request.dbsession.begin_nested():
            write(request, "outer")
            with request.dbsession.begin_nested():
                write(request, "inner")
            raise Undo
        write(request, "after")
    assert sent() == texts(registry) == ["after"]


def test_an_inner_block_goes_alone(registry, sent):
    with open_request(registry) as request, request.tm:
        with request.dbsession.begin_nested():
            write(request, "outer")
            with pytest.raises(Undo), request.dbsession.begin_nested():
                write(request, "inner")
                raise Undo
            write(request, "outer again")
    assert sent() == texts(registry) == ["outer", "outer again"]


def test_a_savepoint_of_the_transaction_is_honoured_with_rows(registry, sent):
    with open_request(registry) as request, request.tm:
        write(request, "before")
        savepoint = request.tm.savepoint()
        write(request, "inside")
        savepoint.rollback()
        write(request, "after")
    assert sent() == texts(registry) == ["before", "after"]


def test_both_kinds_may_be_mixed(registry, sent):
    with open_request(registry) as request, request.tm:
        request.dbsession.begin()
        savepoint = request.tm.savepoint()
        with request.dbsession.begin_nested():
            write(request, "nested inside a savepoint")
        savepoint.rollback()
        write(request, "kept")
    assert sent() == texts(registry) == ["kept"]


def test_an_integrity_error_in_a_block_takes_its_calls_along(registry, sent):
    from sqlalchemy.exc import IntegrityError

    with open_request(registry) as request, request.tm:
        with pytest.raises(IntegrityError), request.dbsession.begin_nested():
            add.delay("inside")
            on_commit(lambda: add.delay("inside too"))
            request.dbsession.add(Note(text="orphan", parent_id=999))
        write(request, "after")
    assert sent() == texts(registry) == ["after"]
