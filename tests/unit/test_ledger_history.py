"""What people ask of the ledger, on PostgreSQL and on SQLite."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import create_engine, select, update
from sqlalchemy.pool import NullPool

from pyramid_celery_tm.ledger import Ledger, State, history, outbox, utcnow
from tests.application import Base, TaskRecord

OPEN = [State.PENDING, State.SENT, State.ANSWERED]


@pytest.fixture(params=["postgresql", "sqlite"])
def kept(request, tmp_path):
    sqlite = request.param == "sqlite"
    url = f"sqlite:///{tmp_path / 'db.sqlite'}" if sqlite else request.getfixturevalue("postgresql_url")
    engine = create_engine(url, poolclass=NullPool)
    Base.metadata.create_all(engine)
    return Ledger(TaskRecord.__table__, engine)


@pytest.fixture
def on_postgresql(postgresql_url):
    engine = create_engine(postgresql_url, poolclass=NullPool)
    Base.metadata.create_all(engine)
    return Ledger(TaskRecord.__table__, engine)


def write(kept, call_id, state, **values):
    """Write a row; a number is a time that many seconds from now."""
    times = {
        name: utcnow() + timedelta(seconds=value) for name, value in values.items() if name.endswith(("_at", "eta"))
    }
    finished = {"finished_at": utcnow()} if state in ("done", "failed", "revoked") else {}
    row = {"id": call_id, "name": "add", "state": state, "message": "{}", **finished, **values, **times}
    with kept.begin() as connection:
        outbox.add(kept, connection, [row])


def row(kept, call_id):
    return history.show(kept, call_id)


def test_rows_are_counted_in_the_order_of_the_states(kept):
    for number, state in enumerate(["done", "pending", "done"]):
        write(kept, str(number), state)
    counts = history.counts(kept)
    assert list(counts) == [state.value for state in State]
    assert {state: number for state, number in counts.items() if number} == {"pending": 1, "done": 2}


def test_nothing_is_open_in_an_empty_ledger(kept):
    assert history.oldest_open(kept) is None
    assert history.list_open(kept, 5) == history.list_failed(kept, 5) == []


@pytest.mark.parametrize("state", OPEN)
def test_the_oldest_open_call_is_the_one_whose_time_came_first(kept, state):
    write(kept, "finished", State.DONE, created_at=-500)
    write(kept, "future", state, created_at=-400, eta=300)
    write(kept, "delayed", state, created_at=-300, eta=-10)
    write(kept, "oldest", state, created_at=-100)
    write(kept, "newest", state, created_at=-5)
    oldest = history.oldest_open(kept)
    assert (oldest.id, oldest.state) == ("oldest", state)
    assert 100 <= (utcnow() - oldest.since).total_seconds() < 130


def test_a_delayed_call_waits_since_its_time_came(kept):
    write(kept, "delayed", State.SENT, created_at=-300, eta=-10)
    oldest = history.oldest_open(kept)
    assert 10 <= (utcnow() - oldest.since).total_seconds() < 40


def test_open_calls_are_listed_the_oldest_first(kept):
    for number, state in enumerate([*OPEN, State.DONE, State.FAILED, State.CHORD]):
        write(kept, str(number), state, created_at=-number)
    write(kept, "other", State.SENT, name="other")
    assert [call.id for call in history.list_open(kept, 9)] == ["2", "1", "0", "other"]
    assert [call.id for call in history.list_open(kept, 2)] == ["2", "1"]
    assert [call.id for call in history.list_open(kept, 9, "other")] == ["other"]


def test_failed_calls_are_listed_the_newest_first(kept):
    for number in range(3):
        write(kept, str(number), State.FAILED, finished_at=-number, error=f"ValueError: {number}")
    write(kept, "other", State.FAILED, name="other", finished_at=-9)
    write(kept, "fine", State.DONE)
    assert [(call.id, call.error) for call in history.list_failed(kept, 2)] == [
        ("0", "ValueError: 0"),
        ("1", "ValueError: 1"),
    ]
    assert [call.id for call in history.list_failed(kept, 9, "other")] == ["other"]


def test_a_row_is_shown_with_all_its_columns_and_aware_times(kept):
    write(kept, "1", State.FAILED, created_at=-5)
    shown = row(kept, "1")
    assert set(shown) == set(TaskRecord.__table__.c.keys())
    assert shown["created_at"].utcoffset() == timedelta(0)
    assert row(kept, "2") is None


@pytest.mark.parametrize("state", [State.FAILED, State.REVOKED])
def test_a_call_that_is_sent_again_is_as_if_it_had_just_been_called_but_for_its_retries(kept, state):
    write(kept, "1", state, starts=5, sends=7, retries=3, error="E", result="{}", chord_id="c", finished_at=-9)
    with kept.begin() as connection:
        connection.execute(update(kept.table).values(traceback="T"))
    assert history.resend(kept, ["1", "1"]) == {}
    now = row(kept, "1")
    assert (now["state"], now["starts"], now["sends"], now["retries"]) == ("pending", 0, 0, 3)
    assert {now[name] for name in ("error", "result", "traceback", "chord_id", "finished_at")} == {None}
    assert timedelta(0) <= datetime.now(UTC) - now["due_at"] < timedelta(seconds=30)


def test_one_that_was_revoked_before_its_time_waits_for_it(kept):
    write(kept, "1", State.REVOKED, eta=500)
    history.resend(kept, ["1"])
    assert row(kept, "1")["due_at"] == row(kept, "1")["eta"]


def test_what_cannot_be_sent_again_is_told_why_and_left_alone(kept):
    for state in (*OPEN, State.DONE, State.CHORD, State.SCHEDULE):
        write(kept, state.value, state)
    write(kept, "foreign", State.FAILED, message=None)
    write(kept, "late", State.FAILED, expires_at=-5)
    write(kept, "in time", State.FAILED, expires_at=50)
    ids = ["nobody", "foreign", "late", "in time", *OPEN, "done", "chord", "schedule"]
    before = {call_id: row(kept, call_id) for call_id in ids if call_id != "in time"}
    told = history.resend(kept, ids)
    assert list(told) == list(before)
    assert told.pop("nobody") == "the ledger has no such call"
    assert told.pop("foreign") == "the ledger does not have its message, which came from elsewhere"
    assert (
        told.pop("late")
        == f"it expired at {before['late']['expires_at']:%Y-%m-%d %H:%M:%S} UTC; workers would throw it away"
    )
    assert told == {state: f"it is {state}; only what failed or was revoked can be sent again" for state in told}
    assert {call_id: row(kept, call_id) for call_id in before} == before
    assert row(kept, "in time")["state"] == "pending"


def test_all_that_failed_are_sent_again_in_bites(kept):
    for number in range(5):
        write(kept, str(number), State.FAILED)
    write(kept, "other", State.FAILED, name="other")
    write(kept, "foreign", State.FAILED, message=None)
    write(kept, "revoked", State.REVOKED)
    assert history.resend_failed(kept, "add", bite=2) == 5
    assert history.resend_failed(kept, "add") == 0
    assert history.resend_failed(kept) == 1
    with kept.begin() as connection:
        left = connection.execute(select(kept.table.c.id).where(kept.table.c.state != "pending"))
        assert sorted(left.scalars()) == ["foreign", "revoked"]
    assert history.why_not(kept, ["foreign"]) == {
        "foreign": "the ledger does not have its message, which came from elsewhere"
    }


def test_one_that_somebody_else_holds_is_not_waited_for(on_postgresql):
    write(on_postgresql, "held", State.FAILED)
    write(on_postgresql, "free", State.FAILED)
    c = on_postgresql.table.c
    with on_postgresql.begin() as connection:
        connection.execute(select(c.id).where(c.id == "held").with_for_update())
        assert history.resend(on_postgresql, ["held", "free"]) == {
            "held": "it is being changed at this moment; try again"
        }
    assert history.resend_failed(on_postgresql) == 1
