"""The rows of beat's schedule, on PostgreSQL and on SQLite."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import create_engine

from pyramid_celery_tm.ledger import Ledger, State
from pyramid_celery_tm.ledger.schedule import Line, enter, move_on, read, row_id, take, tick_id
from tests.application import Base, TaskRecord

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
LINE = Line("nightly", "backup", "every 3600.0 s", NOON)


@pytest.fixture(params=["postgresql", "sqlite"])
def ledger(request, tmp_path):
    url = f"sqlite:///{tmp_path / 'ledger.sqlite'}"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgresql_url")
    engine = create_engine(url)
    Base.metadata.create_all(engine)
    yield Ledger(TaskRecord.__table__, engine)
    engine.dispose()


def entered(ledger, *lines):
    with ledger.begin() as connection:
        enter(ledger, connection, lines)


def found(ledger, *names):
    with ledger.autocommit() as connection:
        return read(ledger, connection, names)


def test_an_entry_has_a_row_that_no_relay_looks_at(ledger):
    entered(ledger, LINE)
    with ledger.begin() as connection:
        (row,) = connection.execute(ledger.table.select())
    assert (row.id, row.name, row.state, row.message) == ("beat:nightly", "backup", State.SCHEDULE, "every 3600.0 s")
    assert row.due_at is None


def test_entries_are_found_by_their_names_with_their_ticks_in_utc(ledger):
    other = Line("hourly", "poll", "every 3600.0 s", NOON + HOUR)
    entered(ledger, LINE, other)
    assert found(ledger, "nightly", "hourly", "never") == {"nightly": LINE, "hourly": other}
    assert found(ledger, "nightly")["nightly"].tick.tzinfo is UTC
    assert found(ledger) == {}


def test_an_entry_that_is_there_keeps_its_tick(ledger):
    entered(ledger, LINE)
    entered(ledger, replace(LINE, tick=NOON + HOUR))
    assert found(ledger, "nightly")["nightly"] == LINE


def test_an_entry_with_another_timetable_begins_anew(ledger):
    entered(ledger, LINE)
    changed = replace(LINE, timetable="every 60.0 s", tick=NOON + HOUR)
    entered(ledger, changed)
    assert found(ledger, "nightly")["nightly"] == changed


def test_an_entry_with_another_task_keeps_its_tick(ledger):
    entered(ledger, LINE)
    entered(ledger, replace(LINE, task="copy", tick=NOON + HOUR))
    assert found(ledger, "nightly")["nightly"] == replace(LINE, task="copy")


def test_what_is_due_is_taken_and_moved_on(ledger):
    entered(ledger, LINE)
    with ledger.begin() as connection:
        assert take(ledger, connection, "nightly", NOON - HOUR) is None
        assert take(ledger, connection, "nightly", NOON) == NOON
        assert move_on(ledger, connection, LINE, NOON + HOUR)
        assert take(ledger, connection, "nightly", NOON) is None
    assert found(ledger, "nightly")["nightly"].tick == NOON + HOUR


def test_a_tick_that_another_beat_has_locked_is_not_waited_for(postgresql_url):
    ledger = Ledger(TaskRecord.__table__, create_engine(postgresql_url))
    Base.metadata.create_all(ledger.engine)
    entered(ledger, LINE)
    with ledger.begin() as one, ledger.begin() as other:
        assert take(ledger, one, "nightly", NOON) == NOON
        assert take(ledger, other, "nightly", NOON) is None
    ledger.engine.dispose()


def test_of_two_that_took_the_same_tick_one_moves_it_on(ledger):
    entered(ledger, LINE)
    with ledger.begin() as connection:
        assert move_on(ledger, connection, LINE, NOON + HOUR)
        assert not move_on(ledger, connection, LINE, NOON + HOUR)


def test_a_name_of_any_length_has_a_row(ledger):
    line = replace(LINE, name="call(" + "x" * 300 + ")")
    entered(ledger, line)
    assert found(ledger, line.name) == {line.name: line}
    assert len(row_id(line.name)) < 255
    assert row_id(line.name) != row_id(f"{line.name}x")


def test_the_id_of_a_tick_is_made_of_the_name_and_the_time():
    assert tick_id("nightly", NOON) == tick_id("nightly", NOON)
    assert len({tick_id("nightly", NOON), tick_id("hourly", NOON), tick_id("nightly", NOON + HOUR)}) == 3
