import importlib
import sys

import pytest
import transaction
from pyramid_retry import RetryableException, mark_error_retryable
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.orm import Session
from transaction.interfaces import TransientError
from zope.sqlalchemy import register

from pyramid_celery_tm import conflicts


@pytest.fixture
def tm():
    tm = transaction.TransactionManager(explicit=True)
    tm.begin()
    yield tm
    tm.abort()


def test_what_the_transaction_package_and_pyramid_retry_call_retryable_is_a_conflict():
    marked = ValueError()
    mark_error_retryable(marked)
    for error in (TransientError(), RetryableException(), marked):
        assert conflicts.is_conflict(None, error)


def test_other_errors_are_not(tm):
    for error in (ValueError(), KeyboardInterrupt(), OperationalError("select", {}, Exception())):
        assert not conflicts.is_conflict(tm.get(), error)
        assert not conflicts.is_conflict(None, error)


def test_a_serialization_failure_of_postgresql_is(tm, postgresql_url):
    engine = create_engine(postgresql_url)
    session = Session(engine)
    register(session, transaction_manager=tm)
    with pytest.raises(DBAPIError) as caught:
        session.execute(text("do $$ begin raise exception 'no' using errcode = '40001'; end $$"))
    assert conflicts.is_conflict(tm.get(), caught.value)
    session.close()
    engine.dispose()


def test_an_application_without_pyramid_retry_has_its_conflicts_too(tm, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyramid_retry", None)
    try:
        bare = importlib.reload(conflicts)
        assert bare.is_conflict(None, TransientError())
        assert not bare.is_conflict(tm.get(), RetryableException())
    finally:
        monkeypatch.undo()
        importlib.reload(conflicts)
