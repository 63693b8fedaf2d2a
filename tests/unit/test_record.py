"""Calls that are written into the ledger with the transaction they are made in."""

import logging
from datetime import UTC, datetime, timedelta

import pytest
import redis
import transaction
import zope.sqlalchemy
from celery import group
from sqlalchemy import create_engine, event, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from pyramid_celery_tm import on_commit, packing, record
from pyramid_celery_tm.app import celery_app
from pyramid_celery_tm.deferral import Release
from pyramid_celery_tm.ledger import KEY, outbox
from pyramid_celery_tm.request import open_request
from tests.application import (
    Note,
    add,
    background,
    configure,
    make_config,
    queued,
    records,
    texts,
    worker,
    write,
)
from tests.services import wait_until


@pytest.fixture(params=["postgresql", "sqlite"])
def database_url(request, tmp_path):
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/ledger.sqlite"
    return request.getfixturevalue("postgresql_url")


@pytest.fixture
def registry(redis_url, database_url):
    """The small application with a ledger."""
    return configure(make_config(database_url, ledger=True), redis_url)


@pytest.fixture
def request_(registry):
    with open_request(registry) as request:
        yield request


@pytest.fixture
def statements(registry):
    """The statements that write into the ledger, and how many rows each has."""
    seen = []

    def note(connection, cursor, statement, parameters, context, executemany):
        if "task_record" in statement and not statement.lower().startswith("select"):
            seen.append(statement.split()[0].upper())

    event.listen(registry["engine"], "before_cursor_execute", note)
    return seen


def states(registry):
    return [row.state for row in records(registry)]


def test_a_call_is_written_with_the_commit_and_marked_as_sent(registry, request_, redis_url):
    with request_.tm:
        request_.dbsession.add(Note(text="hello"))
        result = add.delay(1, 2)
    (row,) = records(registry)
    assert (row.id, row.name, row.state, row.sends, row.queue) == (result.id, "add", "sent", 1, "celery")
    assert [message["id"] for message in queued(redis_url)] == [result.id]
    assert texts(registry) == ["hello"]


def test_a_call_is_written_though_nothing_else_is(registry, request_):
    with request_.tm:
        add.delay(1, 2)
    assert states(registry) == ["sent"]


def test_an_aborted_call_is_not_written(registry, request_, redis_url):
    request_.tm.begin()
    request_.dbsession.add(Note(text="never"))
    add.delay(1, 2)
    request_.tm.abort()
    assert records(registry) == queued(redis_url) == texts(registry) == []


def test_a_commit_that_fails_writes_nothing(registry, request_, redis_url):
    request_.tm.begin()
    add.delay(1, 2)
    request_.dbsession.add(Note(id=1, text="one"))
    request_.dbsession.flush()
    request_.dbsession.connection().exec_driver_sql("update note set text = 'x'")
    request_.tm.get().addBeforeCommitHook(lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        request_.tm.commit()
    request_.tm.abort()
    assert records(registry) == queued(redis_url) == []


def test_all_calls_of_a_commit_are_written_in_one_statement_and_marked_in_one(registry, request_, statements):
    with request_.tm:
        request_.dbsession.add(Note(text="hello"))
        for number in range(700):
            add.delay(number)
        group(add.s(1), add.s(2)).delay()
    assert statements == ["INSERT", "UPDATE"]
    assert states(registry) == ["sent"] * 702


def test_a_savepoint_that_is_rolled_back_takes_its_rows_along(registry, request_):
    with request_.tm:
        kept = add.delay(1)
        request_.dbsession.add(Note(text="hello"))
        with pytest.raises(ZeroDivisionError), request_.dbsession.begin_nested():
            add.delay(2)
            raise ZeroDivisionError
        also = add.delay(3)
    assert {row.id for row in records(registry)} == {kept.id, also.id}


def test_a_savepoint_of_the_transaction_does_so_too(postgresql_url, redis_url):
    registry = configure(make_config(postgresql_url, ledger=True), redis_url)
    with open_request(registry) as request, request.tm:
        savepoint = request.tm.savepoint()
        add.delay(1)
        savepoint.rollback()
        kept = add.delay(2)
    assert [row.id for row in records(registry)] == [kept.id]


@pytest.mark.parametrize("earlier", [False, True], ids=["the only one", "after another"])
def test_a_call_that_is_made_while_the_session_flushes_is_written(registry, request_, statements, earlier):
    def call(mapper, connection, note):
        add.delay(note.id)

    event.listen(Note, "after_insert", call)
    try:
        with request_.tm:
            if earlier:
                add.delay(0)
            request_.dbsession.add_all([Note(text="one"), Note(text="two")])
    finally:
        event.remove(Note, "after_insert", call)
    assert states(registry) == ["sent"] * (2 + earlier)
    assert statements == ["INSERT", "UPDATE"]


class LateCaller:
    """A resource that calls a task when it is told to commit."""

    transaction_manager = None

    def __init__(self, key):
        self.key = key

    def sortKey(self):
        return self.key

    def commit(self, transaction):
        add.delay(self.key)

    def nothing(self, transaction):
        pass

    abort = tpc_begin = tpc_vote = tpc_finish = tpc_abort = nothing


@pytest.mark.parametrize("with_rows", [True, False])
def test_a_call_that_another_resource_makes_last_is_written(registry, request_, with_rows):
    with request_.tm:
        if with_rows:
            request_.dbsession.add(Note(text="hello"))
            add.delay(0)
        request_.tm.get().join(LateCaller("q"))
    assert states(registry) == ["sent"] * (1 + with_rows)


def test_a_call_in_a_script_is_written_with_a_session_of_the_ledgers_own(registry, redis_url):
    tm = transaction.TransactionManager(explicit=True)
    with tm:
        add.apply_async((1, 2), tm=tm)
        assert records(registry) == []
    assert states(registry) == ["sent"]


def test_a_call_in_a_script_is_written_with_the_session_that_has_joined(registry):
    tm = transaction.TransactionManager(explicit=True)
    with Session(registry["engine"]) as session, tm:
        zope.sqlalchemy.register(session, transaction_manager=tm)
        session.add(Note(text="script"))
        add.apply_async((1, 2), tm=tm)
    assert states(registry) == ["sent"]
    assert texts(registry) == ["script"]


def test_a_session_of_another_database_is_left_alone(registry, tmp_path):
    tm = transaction.TransactionManager(explicit=True)
    other = create_engine(f"sqlite:///{tmp_path}/other.sqlite")
    with Session(other) as session, tm:
        zope.sqlalchemy.register(session, transaction_manager=tm)
        session.execute(text("select 1"))
        add.apply_async((1, 2), tm=tm)
    other.dispose()
    assert states(registry) == ["sent"]


def test_a_session_of_no_database_is_left_alone(registry):
    tm = transaction.TransactionManager(explicit=True)
    with Session() as session, tm:
        zope.sqlalchemy.register(session, transaction_manager=tm)
        session.add(Note(text="nowhere"))
        session.expunge_all()
        add.apply_async((1, 2), tm=tm)
    assert states(registry) == ["sent"]


def test_a_scoped_session_will_do(registry, request_):
    request_.dbsession = scoped_session(sessionmaker(registry["engine"]))
    zope.sqlalchemy.register(request_.dbsession, transaction_manager=request_.tm)
    with request_.tm:
        add.delay(1)
    assert states(registry) == ["sent"]


def test_a_call_without_a_transaction_is_written_and_sent_at_once(registry, redis_url):
    result = add.delay(1, 2)
    assert [row.id for row in records(registry)] == [result.id]
    assert len(queued(redis_url)) == 1


def test_a_group_without_a_transaction_is_written_too(registry, redis_url):
    group(add.s(1), add.s(2)).delay()
    assert states(registry) == ["sent"] * 2
    assert len(queued(redis_url)) == 2


def test_a_call_that_an_on_commit_function_makes_is_written(registry, request_):
    with request_.tm:
        on_commit(lambda: add.delay(1))
    assert states(registry) == ["sent"]


def test_a_ledger_that_does_not_answer_is_told_to_a_caller_without_a_transaction(registry, redis_url):
    with registry["engine"].begin() as connection:
        connection.execute(text("alter table task_record rename to elsewhere"))
    with pytest.raises(SQLAlchemyError):
        add.delay(1)
    assert queued(redis_url) == []


def test_a_missing_table_is_told_before_anything_is_saved(registry, request_):
    with registry["engine"].begin() as connection:
        connection.execute(text("alter table task_record rename to elsewhere"))
    request_.tm.begin()
    request_.dbsession.add(Note(text="never"))
    add.delay(1)
    with pytest.raises(SQLAlchemyError):
        request_.tm.commit()
    request_.tm.abort()
    assert texts(registry) == []


def test_an_id_that_is_in_the_ledger_stands_for_the_same_call(registry, request_, redis_url, caplog):
    caplog.set_level(logging.INFO)
    with request_.tm:
        add.apply_async((1,), task_id="mine")
        add.apply_async((2,), task_id="mine")
    with request_.tm:
        add.apply_async((3,), task_id="mine")
    assert [message["args"] for message in queued(redis_url)] == [[1]]
    assert states(registry) == ["sent"]
    assert caplog.text.count("is in the ledger already") == 2


def test_a_far_call_waits_in_the_table(registry, request_, redis_url):
    eta = datetime.now(UTC) + timedelta(hours=3)
    with request_.tm:
        add.apply_async((1,), countdown=7200)
        add.apply_async((2,), eta=eta)
        add.apply_async((3,), eta=eta.isoformat())
        add.apply_async((4,), countdown=30, expires=90)
        add.apply_async((5,), eta=datetime.now(UTC).replace(tzinfo=None), expires=eta.replace(tzinfo=None))
    assert [message["args"] for message in queued(redis_url)] == [[4], [5]]
    rows = records(registry)
    assert sorted(row.state for row in rows) == ["pending"] * 3 + ["sent"] * 2
    for row in rows:
        packed = packing.unpack(celery_app, row.name, row.message)[0]
        assert packed.content.headers["eta"]
        if row.state == "pending":
            assert abs((row.eta - row.due_at).total_seconds() - 60) < 1
            assert row.eta.replace(tzinfo=UTC) > datetime.now(UTC) + timedelta(hours=1)
        else:
            assert row.expires_at is not None


def test_what_no_worker_claims_is_done_when_it_is_sent(registry, request_):
    with request_.tm:
        add.chunks([(1, 1), (2, 2)], 1).delay()
        add.delay(1)
    assert sorted(states(registry)) == ["done", "done", "sent"]


def test_a_broker_that_is_down_is_a_warning_and_the_calls_are_kept(database_url, valkey, caplog):
    registry = configure(make_config(database_url, ledger=True), valkey.url(), result_backend="cache+memory://")
    valkey.stop()
    with open_request(registry) as request, request.tm:
        for number in range(30):
            add.delay(number)
    assert states(registry) == ["pending"] * 30
    (line,) = [entry.getMessage() for entry in caplog.records if entry.name == record.__name__]
    assert "30 calls could not be sent after the commit" in line
    assert "args=(0,)" in line
    assert line.endswith(", ...")


def test_calls_that_were_sent_and_not_marked_are_a_warning(registry, request_, caplog, redis_url):
    def refuse(connection, cursor, statement, parameters, context, executemany):
        if statement.startswith("UPDATE task_record"):
            raise SQLAlchemyError("the database went away")

    event.listen(registry["engine"], "before_cursor_execute", refuse)
    with request_.tm:
        add.delay(1)
    assert "could not be marked as sent: SQLAlchemyError: the database went away" in caplog.text
    assert states(registry) == ["pending"]
    assert len(queued(redis_url)) == 1


def test_eager_tasks_have_no_rows(registry, redis_url):
    celery_app.conf.task_always_eager = True
    try:
        with open_request(registry) as request, request.tm:
            add.delay(1)
    finally:
        celery_app.conf.task_always_eager = False
    assert records(registry) == []


def test_a_worker_runs_what_was_written(registry, request_):
    with request_.tm:
        write.delay("hello")
        background.delay()
    with worker():
        wait_until(lambda: states(registry) == ["done"] * 3, 20, "all to be done")
    assert texts(registry) == ["hello"]


def test_sending_nothing_new_writes_nothing(registry, request_, statements, redis_url):
    ledger = registry[KEY]
    entry = record.Entry(ledger, row={"id": "x", "name": "x", "state": "chord"})
    record.send([entry], Release())
    record.send([entry], Release())
    assert statements == ["INSERT"]
    assert entry.result is None
    with redis.Redis.from_url(redis_url) as client:
        assert client.keys() == []


def test_writing_nothing_writes_nothing(registry, statements):
    with registry[KEY].begin() as connection:
        assert outbox.add(registry[KEY], connection, []) == set()
    assert statements == []
