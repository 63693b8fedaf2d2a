"""Tasks in each of Celery's pools: real worker processes, a real broker, a real database."""

import pytest

from pyramid_celery_tm.app import celery_app
from tests.application import configure, make_config, texts
from tests.functional.apps import notes
from tests.functional.project import LOGGING, Project

INI = """
[app:main]
use = call:tests.functional.apps.notes:main
sqlalchemy.url = {database}

[celery]
broker_url = {broker}
result_backend = {broker}
imports = tests.functional.apps.notes
{celery}
"""

TASKS = 40

POOLS = {
    "prefork": ("-P", "prefork", "-c", "2"),
    "prefork with short-lived children": ("-P", "prefork", "-c", "2", "--max-tasks-per-child", "5"),
    "threads": ("-P", "threads", "-c", "4"),
    "gevent": ("-P", "gevent", "-c", "4"),
    "solo": ("-P", "solo"),
}


@pytest.fixture
def registry(postgresql_url, redis_url):
    return configure(make_config(postgresql_url), redis_url)


@pytest.fixture
def worker(tmp_path, postgresql_url, redis_url):
    """Starts ``ws-celery worker`` with options."""
    project = Project(tmp_path, redis_url)

    def start(*options, celery=""):
        text = INI.format(database=postgresql_url.replace("%", "%%"), broker=redis_url, celery=celery) + LOGGING
        (tmp_path / "test.ini").write_text(text, encoding="utf-8")
        return project.running("worker", "--ini", "test.ini", "-l", "info", *options)

    return start


@pytest.mark.parametrize("pool", POOLS)
def test_nothing_leaks_from_one_task_into_the_next(pool, worker, registry):
    with worker(*POOLS[pool]) as running:
        running.wait_for("ready.")
        left_open = [notes.leaves_open.delay() for _ in range(5)]
        results = [notes.surroundings.delay(number) for number in range(TASKS)]
        failing = [notes.fails.delay() for _ in range(5)]
        seen = [result.get(timeout=60) for result in results]
        for result in left_open:
            result.get(timeout=60)
        for result in failing:
            assert isinstance(result.get(timeout=60, propagate=False), ValueError)
        running.wait_for("task leaves_open left a transaction open; it was aborted")
    assert sorted(texts(registry)) == sorted(f"surroundings {number}" for number in range(TASKS))
    assert [task["number"] for task in seen] == list(range(TASKS))
    assert all(task["current"] for task in seen)
    assert len({task["open"] for task in seen}) == 1
    places = {(task["process"], task["thread"]) for task in seen}
    print(f"{pool}: {TASKS} tasks in {len(places)} places, {len({task['database'] for task in seen})} connections")


def test_a_child_of_prefork_has_connections_of_its_own(worker, registry):
    with worker("-P", "prefork", "-c", "2") as running:
        running.wait_for("ready.")
        seen = [notes.surroundings.delay(number) for number in range(20)]
        seen = [result.get(timeout=60) for result in seen]
    pairs = {(task["process"], task["database"]) for task in seen}
    print(f"{len(pairs)} pairs of process and connection: {pairs}")
    assert len(pairs) == len({process for process, _ in pairs}) == len({database for _, database in pairs})


def test_conflicts_are_tried_again_until_each_of_the_tasks_has_its_effect(worker, registry):
    with worker("-P", "threads", "-c", "4", celery="") as running:
        running.wait_for("ready.")
        results = [notes.meets.delay(number, 8) for number in range(8)]
        outcomes = [result.get(timeout=60, propagate=False) for result in results]
        conflicts = running.output().count("met a conflict")
    succeeded = [outcome for outcome in outcomes if isinstance(outcome, int)]
    print(f"8 tasks, {conflicts} conflicts, {len(succeeded)} effects")
    assert sorted(succeeded) == list(range(len(succeeded)))
    assert len(texts(registry)) == len(succeeded)


def test_a_heavy_task_is_consumed_by_a_worker_without_queues(worker, registry):
    from tests.application import background, heavy

    with worker("-P", "solo") as running:
        running.wait_for("ready.")
        assert heavy.delay(7).get(timeout=30) == 7
        assert background.delay().get(timeout=30) is None
    assert celery_app.conf.task_default_queue == "celery"
