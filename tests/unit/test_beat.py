"""Beat whose ticks are rows of the ledger: one scheduler at a time here, many beats in the functional tests."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta

import pytest
from celery.beat import BeatLazyFunc
from celery.schedules import BaseSchedule, crontab
from sqlalchemy import delete, select, update

from pyramid_celery_tm.app import celery_app
from pyramid_celery_tm.beat import AGAIN, PAUSE, LedgerScheduler
from pyramid_celery_tm.exceptions import NotConfigured
from pyramid_celery_tm.ledger import KEY
from pyramid_celery_tm.ledger import schedule as rows
from pyramid_celery_tm.ticks import BATCH
from tests.application import TaskRecord, configure, make_config, queued, records

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
POLL = {"poll": {"task": "add", "schedule": 60.0, "args": [1], "kwargs": {"y": 2}}}


class World:
    """An application with a ledger, and beats that are started in it."""

    def __init__(self, database, broker):
        self.database, self.broker = database, broker

    def beat(self, schedule, *, celery=None, **settings):
        """A beat that has begun: its entries are in the ledger."""
        config = make_config(self.database, ledger=True, **settings)
        self.registry = configure(config, self.broker, beat_schedule=schedule, **(celery or {}))
        scheduler = LedgerScheduler(celery_app, schedule_filename="not used")
        scheduler.tick()
        return scheduler

    def tick_of(self, name="poll"):
        """When an entry is due next."""
        with self.registry[KEY].begin() as connection:
            found = rows.read(self.registry[KEY], connection, [name])
        return found[name].tick if found else None

    def set_tick(self, moment, name="poll"):
        """Let the clock be ahead: an entry is due at a moment of the past."""
        with self.registry["engine"].begin() as connection:
            connection.execute(update(TaskRecord).where(TaskRecord.id == f"beat:{name}").values(eta=moment))
        return moment

    def be_late(self, late, name="poll"):
        return self.set_tick(datetime.now(UTC) - late, name)

    def calls(self):
        return [record for record in records(self.registry) if record.state != "schedule"]

    def messages(self):
        return queued(self.broker)


@pytest.fixture
def world(postgresql_url, redis_url):
    return World(postgresql_url, redis_url)


@pytest.fixture
def small_world(tmp_path, redis_url):
    """One on SQLite."""
    return World(f"sqlite:///{tmp_path / 'ledger.sqlite'}", redis_url)


def test_a_new_entry_is_due_for_the_first_time_after_its_interval(world):
    before = datetime.now(UTC)
    world.beat(POLL)
    assert before + MINUTE <= world.tick_of() <= datetime.now(UTC) + MINUTE
    assert world.calls() == []
    assert world.messages() == []


def test_beat_looks_again_when_the_next_entry_is_due_and_after_five_seconds_at_most(world):
    assert world.beat(POLL).tick() == 5
    scheduler = world.beat({**POLL, "often": {"task": "add", "schedule": 3, "args": [1]}})
    assert 2 < scheduler.tick() <= 3
    assert LedgerScheduler(celery_app, max_interval=1).tick() == 1


def test_a_due_entry_is_called_once_and_moved_on_by_its_interval(world, caplog):
    caplog.set_level(logging.INFO, "pyramid_celery_tm.beat")
    scheduler = world.beat(POLL)
    due = world.be_late(timedelta(seconds=1))
    assert scheduler.tick() == 5
    assert scheduler.tick() == 5
    (call,) = world.calls()
    (message,) = world.messages()
    assert (call.id, call.name, call.state) == (rows.tick_id("poll", due), "add", "sent")
    assert (message["id"], message["args"], message["kwargs"]) == (call.id, [1], {"y": 2})
    assert message["celery_beat_task"] is True
    assert world.tick_of() == due + MINUTE
    assert caplog.messages.count("Scheduler: Sending due task poll (add)") == 1


def test_the_options_of_an_entry_reach_the_call(world):
    options = {"queue": "heavy", "expires": 25, "headers": {"color": "red"}}
    scheduler = world.beat({"poll": {**POLL["poll"], "options": options}})
    world.be_late(timedelta(seconds=1))
    scheduler.tick()
    (message,) = queued(world.broker, "heavy")
    assert message["color"] == "red"
    assert message["celery_beat_task"] is True
    assert message["expires"] is not None
    assert scheduler.schedule["poll"].options == options


@pytest.mark.parametrize("task", ["plain", "known.to.workers.only"])
def test_a_task_that_is_not_of_the_library_is_done_when_it_is_sent(world, task):
    scheduler = world.beat({"poll": {"task": task, "schedule": 60, "kwargs": {"x": BeatLazyFunc(abs, -7)}}})
    due = world.be_late(timedelta(seconds=1))
    scheduler.tick()
    (call,) = world.calls()
    (message,) = world.messages()
    assert (call.id, call.state, call.due_at) == (rows.tick_id("poll", due), "done", None)
    assert (message["id"], message["task"], message["kwargs"]) == (call.id, task, {"x": 7})


def test_what_the_broker_does_not_take_is_left_to_the_relay(postgresql_url, valkey, caplog):
    world = World(postgresql_url, valkey.url())
    scheduler = world.beat(POLL)
    world.be_late(timedelta(seconds=1))
    valkey.stop()
    assert scheduler.tick() >= 0
    assert [call.state for call in world.calls()] == ["pending"]
    assert "a relay sends them" in caplog.text


@pytest.mark.parametrize(
    ("policy", "runs"), [("skip", []), ("once", [2]), ("all", [0, 1, 2])], ids=["skip", "once", "all"]
)
@pytest.mark.parametrize("said_by", ["entry", "setting"])
def test_ticks_that_nobody_saw_are_made_up_for_as_the_policy_says(world, policy, runs, said_by, caplog):
    entry = {"task": "add", "schedule": 10 * MINUTE, "args": [1]}
    if said_by == "entry":
        scheduler = world.beat({"poll": {**entry, "missed": policy}}, **{"tasks.missed_ticks": "skip"})
    else:
        scheduler = world.beat({"poll": entry}, **{"tasks.missed_ticks": policy})
    first = world.be_late(25 * MINUTE)
    scheduler.tick()
    assert {call.id for call in world.calls()} == {rows.tick_id("poll", first + run * 10 * MINUTE) for run in runs}
    assert world.tick_of() == first + 30 * MINUTE
    assert f"ticks were missed for 1500 s: {len(runs)} run now" in caplog.text


def test_many_missed_ticks_run_batch_after_batch(world):
    scheduler = world.beat({"poll": {"task": "add", "schedule": 60, "args": [1], "missed": "all"}})
    world.be_late((BATCH + 19) * MINUTE)
    assert scheduler.tick() == 0
    assert len(world.calls()) == BATCH
    assert scheduler.tick() == 5
    assert len(world.calls()) == BATCH + 20


def test_an_unknown_policy_is_refused(world):
    with pytest.raises(ValueError, match="the schedule entry poll has missed = 'never'; allowed: skip, once, all"):
        world.beat({"poll": {**POLL["poll"], "missed": "never"}})


def test_a_tick_that_is_locked_by_another_beat_is_looked_at_again_soon(world):
    scheduler = world.beat(POLL)
    world.be_late(timedelta(seconds=1))
    with world.registry[KEY].begin() as connection:
        connection.execute(select(TaskRecord).where(TaskRecord.id == "beat:poll").with_for_update())
        assert 0 < scheduler.tick() <= AGAIN.total_seconds()
    assert world.calls() == []
    scheduler.tick()
    assert len(world.calls()) == 1


class MeanwhileAnotherBeat(BaseSchedule):
    """A schedule that takes its time: another beat ticks before it has answered."""

    other = None

    def remaining_estimate(self, last_run_at):
        other, self.other = self.other, None
        if other is not None:
            other.tick()
        return HOUR


def test_on_sqlite_too_a_tick_is_taken_by_one_beat(small_world):
    slow = MeanwhileAnotherBeat()
    scheduler = small_world.beat({"poll": {**POLL["poll"], "schedule": slow}})
    due = small_world.be_late(timedelta(seconds=1))
    slow.other = LedgerScheduler(celery_app)
    slow.other.schedule["poll"].schedule = MeanwhileAnotherBeat()
    assert 0 < scheduler.tick() <= AGAIN.total_seconds()
    assert [call.id for call in small_world.calls()] == [rows.tick_id("poll", due)]
    assert len(small_world.messages()) == 1


def test_a_tick_that_is_in_the_ledger_is_not_called_again(world, caplog):
    caplog.set_level(logging.INFO, "pyramid_celery_tm.beat")
    scheduler = world.beat(POLL)
    due = world.be_late(timedelta(seconds=1))
    scheduler.tick()
    world.set_tick(due)
    scheduler.tick()
    assert len(world.calls()) == len(world.messages()) == 1
    assert caplog.text.count("Sending due task") == 1


def test_a_beat_that_is_started_again_goes_on_where_the_last_one_stopped(world):
    world.beat(POLL)
    due = world.be_late(timedelta(seconds=1))
    world.beat(POLL)
    assert [call.id for call in world.calls()] == [rows.tick_id("poll", due)]


def test_an_entry_that_is_changed_begins_anew(world):
    world.beat(POLL)
    world.be_late(HOUR)
    world.beat({"poll": {**POLL["poll"], "schedule": 120}})
    assert world.calls() == []
    assert world.tick_of() > datetime.now(UTC) + MINUTE


def test_a_beat_with_an_older_schedule_leaves_the_entry_alone_unless_nobody_sees_to_it(world):
    old = world.beat(POLL)
    world.beat({"poll": {**POLL["poll"], "schedule": 120}})
    world.be_late(timedelta(seconds=30))
    assert old.tick() > 4
    assert world.calls() == []
    due = world.be_late(timedelta(seconds=90))
    old.tick()
    assert len(world.calls()) == 1
    assert world.tick_of() == due + 2 * MINUTE  # the one of a minute ago ran, as it was on time


def test_entries_that_are_lost_with_the_table_are_written_again(world):
    scheduler = world.beat(POLL)
    with world.registry["engine"].begin() as connection:
        connection.execute(delete(TaskRecord))
    assert scheduler.tick() == 5
    assert world.tick_of() > datetime.now(UTC)


def test_celerys_own_entries_are_there_where_the_result_store_needs_them(world, tmp_path):
    store = {"result_backend": f"db+sqlite:///{tmp_path / 'results.sqlite'}"}
    scheduler = world.beat(POLL, celery=store)
    assert sorted(scheduler.schedule) == ["celery.backend_cleanup", "poll"]
    world.be_late(timedelta(seconds=1), "celery.backend_cleanup")
    scheduler.tick()
    assert [call.name for call in world.calls()] == ["celery.backend_cleanup"]


def test_a_crontab_goes_by_the_time_zone_of_the_configuration(world):
    entry = {"poll": {**POLL["poll"], "schedule": crontab(30, 12)}}
    world.beat(entry, celery={"timezone": "Asia/Kolkata"})
    assert (world.tick_of().hour, world.tick_of().minute) == (7, 0)
    world.beat(entry, celery={"timezone": "UTC"})  # the same entry, and another timetable
    assert (world.tick_of().hour, world.tick_of().minute) == (12, 30)


class Broken(BaseSchedule):
    """A schedule with a fault, until it is mended."""

    mended = False

    def remaining_estimate(self, last_run_at):
        if not self.mended:
            raise ZeroDivisionError("the schedule's own fault")
        return HOUR


def test_an_entry_whose_schedule_is_broken_rests_and_stops_no_other(world, caplog):
    broken = Broken()
    scheduler = world.beat({"broken": {**POLL["poll"], "schedule": broken}, **POLL})
    world.be_late(timedelta(seconds=1))
    scheduler.tick()
    assert len(world.calls()) == 1
    assert world.tick_of("broken") is None
    assert caplog.text.count("[celerybeat:broken] the entry rests for 60 s") == 1
    broken.mended = True
    scheduler._resting.clear()  # a minute later
    scheduler.tick()
    assert world.tick_of("broken") > datetime.now(UTC)


def test_an_entry_that_breaks_later_rests_too(world, caplog):
    schedule = Broken()
    schedule.mended = True
    scheduler = world.beat({"poll": {**POLL["poll"], "schedule": schedule}})
    due = world.be_late(timedelta(seconds=1))
    schedule.mended = False
    assert min(scheduler.tick(), scheduler.tick()) > 4
    assert world.calls() == []
    assert world.tick_of() == due
    assert caplog.messages.count("[celerybeat:poll] the entry rests for 60 s") == 1


def test_a_task_that_cannot_be_called_loses_the_tick_and_not_those_after_it(world, caplog):
    entries = {"poll": {**POLL["poll"], "args": []}, "plain": {"task": "plain", "schedule": 60, "args": [1, 2, 3]}}
    scheduler = world.beat(entries)
    due = world.be_late(timedelta(seconds=1))
    world.be_late(timedelta(seconds=1), "plain")
    assert scheduler.tick() == 5
    assert world.calls() == []
    assert world.tick_of() == due + MINUTE
    assert "[celerybeat:poll] task add could not be called" in caplog.text
    assert "[celerybeat:plain] task plain could not be called" in caplog.text


def test_a_database_that_is_restarted_is_waited_for(postgresql, redis_url, caplog):
    world = World(postgresql.databases.create(), redis_url)
    scheduler = world.beat(POLL)
    world.be_late(timedelta(seconds=1))
    postgresql.stop()
    assert scheduler.tick() == PAUSE
    assert "beat pauses, and asks the database again: OperationalError" in caplog.text
    postgresql.start()
    assert scheduler.tick() == 5
    assert len(world.calls()) == 1


class Fatal(BaseSchedule):
    """A schedule during which the database goes away."""

    server = None

    def remaining_estimate(self, last_run_at):
        if self.server is not None:
            self.server.stop()
        return HOUR


def test_a_tick_in_which_the_database_goes_away_runs_when_it_is_back(postgresql, redis_url):
    world, schedule = World(postgresql.databases.create(), redis_url), Fatal()
    scheduler = world.beat({"poll": {**POLL["poll"], "schedule": schedule}})
    due = world.be_late(timedelta(seconds=1))
    schedule.server = postgresql
    assert scheduler.tick() == PAUSE
    schedule.server = None
    postgresql.start()
    assert scheduler.tick() == 5
    assert [call.id for call in world.calls()] == [rows.tick_id("poll", due)]


def test_a_database_that_is_not_there_yet_is_waited_for(postgresql, redis_url):
    world = World(postgresql.databases.create(), redis_url)
    world.beat({})
    scheduler = LedgerScheduler(celery_app, max_interval=2)
    scheduler.update_from_dict(POLL)
    postgresql.stop()
    assert scheduler.tick() == 2
    postgresql.start()
    scheduler.tick()
    assert world.tick_of() > datetime.now(UTC)


def test_no_error_ends_a_beat(world, caplog):
    scheduler = world.beat(POLL)
    scheduler.schedule = None
    assert scheduler.tick() == PAUSE
    assert caplog.messages[-1] == "beat pauses"


def test_a_beat_that_was_told_to_end_while_it_was_busy_ends_after_it(world):
    scheduler = world.beat(POLL)
    world.be_late(timedelta(seconds=1))
    scheduler.close()
    with pytest.raises(SystemExit):
        scheduler.tick()
    assert len(world.calls()) == 1


def test_an_application_without_a_ledger_is_told_what_to_do(registry):
    with pytest.raises(NotConfigured, match=r"config\.configure_ledger"):
        LedgerScheduler(celery_app, lazy=True)


def test_the_banner_names_the_table(world):
    world.beat({})
    scheduler = LedgerScheduler(celery_app, lazy=True)
    assert scheduler.info == "    . ledger -> task_record"
    assert scheduler.schedule == {}
