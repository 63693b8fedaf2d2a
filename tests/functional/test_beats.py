"""Real beats that share a ledger on PostgreSQL, and die as they will."""

from __future__ import annotations

import random
from collections import Counter
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import create_engine, insert, select

from pyramid_celery_tm.ledger import State
from pyramid_celery_tm.ledger.schedule import row_id, tick_id
from tests.application import Base, Note, TaskRecord
from tests.functional.project import Project
from tests.services import wait_until

INI = """
[app:main]
use = call:tests.functional.apps.beats:main
sqlalchemy.url = {database}
# What is lost on its way to a worker comes again before the test ends.
tasks.resend_after = 3

[celery]
broker_url = {broker}
imports = tests.functional.apps.beats
{celery}
"""

ENTRY = """
[celerybeat:{name}]
task = beats.tick
type = integer
schedule = {seconds}
missed = {missed}
"""

SECOND = timedelta(seconds=1)
BEAT = ("beat", "--ini", "test.ini", "--pidfile=", "-l", "info")


class Beats(Project):
    """A project with a ledger, whose table the test reads."""

    def __init__(self, folder, broker, database):
        super().__init__(folder, broker)
        self.database = database
        self.engine = create_engine(database)
        Base.metadata.create_all(self.engine)

    def write_schedule(self, *entries, celery=""):
        text = INI.format(database=self.database, broker=self.broker, celery=celery)
        (self.folder / "test.ini").write_text(text + "".join(entries), encoding="utf-8")

    def called(self):
        """The states of the ticks that were called, by their ids."""
        with self.engine.connect() as connection:
            wanted = select(TaskRecord.id, TaskRecord.state).where(TaskRecord.state != State.SCHEDULE)
            return dict(connection.execute(wanted).all())

    def effects(self):
        """How often each tick has had its effect."""
        with self.engine.connect() as connection:
            return Counter(connection.execute(select(Note.text)).scalars())

    def next_tick(self, name):
        with self.engine.connect() as connection:
            return connection.execute(select(TaskRecord.eta).where(TaskRecord.id == row_id(name))).scalar()

    def enter(self, name, seconds, tick):
        """The row of an entry that beats have run before, until a moment in the past."""
        row = {"id": row_id(name), "name": "beats.tick", "state": State.SCHEDULE, "message": f"every {seconds:.1f} s"}
        with self.engine.begin() as connection:
            connection.execute(insert(TaskRecord).values(**row, created_at=tick, eta=tick))

    def wait_for_ticks(self, count):
        wait_until(lambda: len(self.called()) >= count, 60, f"{count} ticks")


@pytest.fixture
def project(tmp_path, redis_url, postgresql_url):
    made = Beats(tmp_path, redis_url, postgresql_url)
    yield made
    made.engine.dispose()


def test_three_beats_give_each_tick_once_though_one_of_them_is_killed(project, capsys):
    project.write_schedule(ENTRY.format(name="second", seconds=1, missed="once"))
    with project.worker(), ExitStack() as stack:
        beats = [stack.enter_context(project.running(*BEAT)) for _ in range(3)]
        for beat in beats:
            beat.wait_for("beat: Starting")
        project.wait_for_ticks(4)
        random.choice(beats).kill_group()
        project.wait_for_ticks(10)
        assert [beat.end() for beat in beats if beat.popen.poll() is None] == [0, 0]
        wait_until(lambda: set(project.called().values()) == {State.DONE}, 30, "every tick to have run")
        logged = sum(beat.output().count("Scheduler: Sending due task second (beats.tick)") for beat in beats)

    called, effects, following = project.called(), project.effects(), project.next_tick("second")
    expected = {tick_id("second", following.astimezone(UTC) - n * SECOND) for n in range(1, len(called) + 1)}
    doubled = sum(times - 1 for times in effects.values())
    with capsys.disabled():
        lost = len(expected - set(effects))
        print(f"\nbeats: 3 started, 1 killed, {len(called)} ticks, {logged} logged, {lost} lost, {doubled} doubled")
    assert set(called) == set(effects) == expected
    assert doubled == 0
    assert len(called) - 1 <= logged <= len(called)
    assert not list(project.folder.glob("celerybeat-schedule*"))


def test_a_beat_that_starts_after_a_pause_makes_up_for_it_as_each_entry_says(project):
    policies = ("skip", "once", "all")
    project.write_schedule(*(ENTRY.format(name=policy, seconds=600, missed=policy) for policy in policies))
    first = datetime.now(UTC) - timedelta(minutes=25)
    for policy in policies:
        project.enter(policy, 600, first)
    ticks = [first + n * timedelta(minutes=10) for n in range(3)]
    with project.running(*BEAT) as beat:
        wait_until(
            lambda: all(project.next_tick(policy) > ticks[-1] for policy in policies), 30, "the entries to go on"
        )
        assert beat.end() == 0
    runs = {
        policy: [n for n, tick in enumerate(ticks) if tick_id(policy, tick) in project.called()] for policy in policies
    }
    assert runs == {"skip": [], "once": [2], "all": [0, 1, 2]}
    assert len(project.called()) == 4


def test_a_worker_may_have_such_a_beat_inside(project):
    project.write_schedule(ENTRY.format(name="second", seconds=1, missed="all"))
    with project.running("worker", "-B", "--ini", "test.ini", "-l", "info", "-c", "1", "-s", "unused") as worker:
        wait_until(lambda: len(project.effects()) >= 2, 60, "two effects")
        assert worker.end() == 0
    assert set(project.effects().values()) == {1}
    assert not (project.folder / "unused").exists()


def test_a_beat_outlives_a_restart_of_its_database(tmp_path, redis_url, postgresql):
    project = Beats(tmp_path, redis_url, postgresql.databases.create())
    project.write_schedule(ENTRY.format(name="second", seconds=1, missed="all"))
    with project.running(*BEAT) as beat:
        project.wait_for_ticks(2)
        project.engine.dispose()
        postgresql.stop()
        beat.wait_for("beat pauses, and asks the database again")
        postgresql.start()
        project.wait_for_ticks(12)
        assert beat.end() == 0
    called, following = project.called(), project.next_tick("second").astimezone(UTC)
    assert set(called) == {tick_id("second", following - n * SECOND) for n in range(1, len(called) + 1)}
    project.engine.dispose()


def test_the_scheduler_of_the_ledger_says_so_where_there_is_none(tmp_path, redis_url):
    project = Project(tmp_path, redis_url)
    project.write(celery="beat_scheduler = pyramid_celery_tm.beat:LedgerScheduler")
    ended = project.run("beat", "--ini", "test.ini", "--pidfile=")
    assert ended.returncode != 0
    assert "the application has no ledger" in ended.stderr
    assert "Traceback" not in ended.stderr
