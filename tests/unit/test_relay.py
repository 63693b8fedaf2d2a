"""The relay, and what it takes out of the ledger."""

import logging
import threading
from datetime import timedelta

import pytest
from celery import signals
from kombu.exceptions import OperationalError
from sqlalchemy import create_engine, insert, text, update
from sqlalchemy.exc import SQLAlchemyError

from pyramid_celery_tm import relay as relays
from pyramid_celery_tm.app import celery_app
from pyramid_celery_tm.ledger import KEY, Ledger, State, backlog, utcnow
from pyramid_celery_tm.relay import Relay
from pyramid_celery_tm.request import open_request
from tests.application import TaskRecord, add, configure, make_config, queued, records, worker, write
from tests.services import wait_until

SETTINGS = {"tasks.relay_interval": "0.05", "tasks.resend_after": "100", "tasks.relay_batch": "7"}


@pytest.fixture(params=["postgresql", "sqlite"])
def registry(request, redis_url, tmp_path):
    sqlite = f"sqlite:///{tmp_path}/ledger.sqlite"
    url = sqlite if request.param == "sqlite" else request.getfixturevalue("postgresql_url")
    return configure(make_config(url, ledger=True, **SETTINGS), redis_url)


@pytest.fixture
def ledger(registry):
    return registry[KEY]


def lose(registry, number=20, **values):
    """Commit calls whose messages are lost before they are sent."""
    with open_request(registry) as request, request.tm:
        for x in range(number):
            add.delay(x)
    celery_app.control.purge()
    change(registry, state="pending", sends=0, due_at=utcnow(), **values)


def change(registry, **values):
    with registry["engine"].begin() as connection:
        connection.execute(update(TaskRecord).where(TaskRecord.due_at.is_not(None)).values(**values))


def test_a_relay_sends_what_is_due_batch_after_batch(registry, ledger, redis_url):
    lose(registry)
    assert Relay(celery_app, ledger).send_due() == 20
    assert sorted(message["args"][0] for message in queued(redis_url)) == list(range(20))
    assert {message["ledger"] for message in queued(redis_url)} == {1}
    rows = records(registry)
    assert {(row.state, row.sends) for row in rows} == {("sent", 1)}
    assert Relay(celery_app, ledger).send_due() == 0


def test_what_is_sent_again_is_left_alone_for_longer_each_time(registry, ledger):
    lose(registry, 1)
    for sends, seconds in ((1, 100), (2, 200), (3, 400)):
        change(registry, due_at=utcnow())
        assert Relay(celery_app, ledger).send_due() == 1
        (row,) = records(registry)
        waits = row.due_at.replace(tzinfo=None) - utcnow().replace(tzinfo=None)
        if ledger.has_row_locks:
            waits = row.due_at - utcnow()
        assert row.sends == sends
        assert seconds - 5 < waits.total_seconds() <= seconds


def test_a_call_with_a_time_is_not_sent_again_before_it(registry, ledger):
    eta = utcnow() + timedelta(hours=1)
    lose(registry, 1, eta=eta)
    Relay(celery_app, ledger).send_due()
    (row,) = records(registry)
    assert row.due_at.replace(tzinfo=eta.tzinfo) == eta


def test_what_nobody_claims_is_done_when_a_relay_has_sent_it(registry, ledger):
    with open_request(registry) as request, request.tm:
        add.chunks([(1, 1)], 1).delay()
    change(registry, state="pending", sends=0, due_at=utcnow())
    Relay(celery_app, ledger).send_due()
    assert [(row.state, row.due_at) for row in records(registry)] == [("done", None)]


def test_an_answered_call_is_sent_until_what_follows_it_is(registry, ledger):
    lose(registry, 1)
    change(registry, state="answered", sends=1)
    Relay(celery_app, ledger).send_due()
    assert [(row.state, row.sends) for row in records(registry)] == [("answered", 2)]


def test_a_call_that_runs_is_not_sent(redis_url, postgresql_url):
    registry = configure(make_config(postgresql_url, ledger=True, **SETTINGS), redis_url)
    lose(registry, 3)
    with registry["engine"].begin() as connection:
        connection.execute(text("select id from task_record limit 1 for update"))
        assert Relay(celery_app, registry[KEY]).send_due() == 2
    assert Relay(celery_app, registry[KEY]).send_due() == 1


def test_two_relays_take_different_calls(redis_url, postgresql_url):
    registry = configure(make_config(postgresql_url, ledger=True, **SETTINGS), redis_url)
    lose(registry, 200)
    threads = [threading.Thread(target=Relay(celery_app, registry[KEY].apart()).send_due) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    Relay(celery_app, registry[KEY]).send_due()
    sent = [message["id"] for message in queued(redis_url)]
    assert len(sent) == len(set(sent)) == 200


def test_a_broker_that_is_down_leaves_the_calls_where_they_are(postgresql_url, valkey):
    registry = configure(make_config(postgresql_url, ledger=True), valkey.url(), result_backend="cache+memory://")
    lose(registry, 3)
    valkey.stop()
    with pytest.raises(OperationalError, match="the broker did not take 3 of 3 calls"):
        Relay(celery_app, registry[KEY]).send_due()
    assert {row.state for row in records(registry)} == {"pending"}
    valkey.start()
    change(registry, due_at=utcnow())
    assert Relay(celery_app, registry[KEY]).send_due() == 3


def fill(registry, number, state, days):
    at = utcnow() - timedelta(days=days)
    rows = [
        {"id": f"{state} {days} {n}", "name": "old", "state": state, "created_at": at, "finished_at": at,
         "retries": 0, "starts": 1, "sends": 1}
        for n in range(number)
    ]  # fmt: skip
    with registry["engine"].begin() as connection:
        connection.execute(insert(TaskRecord), rows)


def test_old_rows_are_deleted_in_bites(registry, ledger):
    for number, kind, days in ((5, "done", 8), (2, "done", 6), (3, "revoked", 8), (4, "failed", 8), (1, "failed", 31)):
        fill(registry, number, kind, days)
    lose(registry, 1)
    assert backlog.purge(ledger, bite=4) == 4
    assert backlog.purge(ledger, bite=100) == 5
    assert backlog.purge(ledger) == 0
    assert sorted(row.state for row in records(registry)) == ["done"] * 2 + ["failed"] * 4 + ["pending"]


def test_calls_whose_messages_were_purged_are_revoked_unless_they_wait_for_their_time(registry, ledger):
    with open_request(registry) as request, request.tm:
        add.delay(1)
        add.apply_async((2,), countdown=3600)
        add.apply_async((3,), queue="heavy")
    assert backlog.forget(ledger, ["celery"]) == 1
    assert sorted(row.state for row in records(registry)) == ["pending", "revoked", "sent"]


def test_a_worker_that_purges_revokes_what_it_purged(registry, caplog):
    lose(registry, 2)
    consumer = Consumer()
    consumer.purge = True
    signals.worker_ready.send(sender=consumer)
    signals.worker_shutting_down.send(sender="test")
    assert {row.state for row in records(registry)} == {"revoked"}
    assert "2 calls were purged, and revoked in the ledger" in caplog.text


def test_a_worker_says_that_the_table_is_missing(registry, caplog):
    TaskRecord.__table__.drop(registry["engine"])
    signals.worker_ready.send(sender=Consumer())
    signals.worker_shutting_down.send(sender="test")
    assert "the database has no table task_record: run the migrations" in caplog.text


def test_a_worker_whose_database_is_away_starts_all_the_same(registry, monkeypatch):
    def away(ledger):
        raise SQLAlchemyError("no answer")

    monkeypatch.setattr(Ledger, "is_there", away)
    signals.worker_ready.send(sender=Consumer())
    signals.worker_shutting_down.send(sender="test")


def test_a_relay_deletes_what_is_old_and_pauses_when_it_meets_trouble(registry, ledger, monkeypatch, caplog):
    monkeypatch.setattr(relays, "PURGE_EVERY", 0)
    monkeypatch.setattr(relays, "PAUSE", 0.01)
    fill(registry, 3, "done", 8)
    monkeypatch.setattr(backlog, "purge", lambda ledger, purge=backlog.purge: purge(ledger, 2) * backlog.BITE // 2)
    troubles = [ValueError("nobody expected this"), OperationalError("the broker is away")]

    def trouble():
        if troubles:
            raise troubles.pop()

    relay = Relay(celery_app, ledger)
    relay._chores.insert(0, relays._Chore(trouble, 0))
    lose(registry, 3)
    thread = threading.Thread(target=relay.run)
    thread.start()
    try:
        wait_until(lambda: {row.state for row in records(registry)} == {"sent"}, 20, "all to be sent")
    finally:
        relay.stop()
        thread.join()
    assert len(records(registry)) == 3
    assert "the relay pauses: OperationalError: the broker is away" in caplog.text
    assert "nobody expected this" in caplog.text


def test_a_relay_that_is_switched_off_sends_nothing(registry, ledger, redis_url):
    lose(registry, 1)
    policy = ledger.policy.__class__(relay=False)
    assert len(Relay(celery_app, Ledger(ledger.table, ledger.engine, policy))._chores) == 1


class Consumer:
    """What sends Celery's signal, which the worker for tests leaves out; and the worker itself."""

    app = celery_app
    purge = False

    @property
    def controller(self):
        return self


def test_a_worker_runs_a_relay_until_it_ends(registry, caplog):
    lose(registry, 3)
    caplog.set_level(logging.INFO)
    signals.worker_ready.send(sender=Consumer())
    (thread,) = [thread for thread in threading.enumerate() if thread.name == "relay"]
    wait_until(lambda: {row.state for row in records(registry)} == {"sent"}, 20, "all to be sent")
    assert "the relay sent 3 calls: add[" in caplog.text
    signals.worker_shutting_down.send(sender="test")
    thread.join(10)
    assert not thread.is_alive()


def test_a_worker_without_a_ledger_runs_none(redis_url):
    configure(make_config(), redis_url)
    signals.worker_ready.send(sender=Consumer())
    assert "relay" not in {thread.name for thread in threading.enumerate()}


def test_a_revoked_call_is_not_sent_again(registry):
    with open_request(registry) as request, request.tm:
        expired = write.apply_async(("never",), expires=0.001)
        other = write.delay("hello")
    with worker():
        wait_until(lambda: State.REVOKED in {row.state for row in records(registry)}, 20, "the expiry to be noted")
    rows = {row.id: row for row in records(registry)}
    assert (rows[expired.id].state, rows[expired.id].error) == ("revoked", "expired")
    assert rows[other.id].state == "done"


def test_a_ledger_in_memory_has_one_connection():
    engine = create_engine("sqlite://")
    ledger = Ledger(TaskRecord.__table__, engine)
    assert ledger.apart() is ledger
    assert not ledger.is_there()
    TaskRecord.metadata.create_all(engine)
    assert ledger.is_there()
    engine.dispose()
