"""What waits in the queues, seen and dropped by ws-celery: queues, purge, worker --purge."""

import json

import pytest

from tests.functional.project import Project
from tests.services import wait_until


@pytest.fixture
def project(tmp_path, redis_url):
    return Project(tmp_path, redis_url)


def fill(project):
    with project.redis() as broker:
        for queue in ("celery", "heavy", "background"):
            project.send("tests.add", 1, 2, queue=queue)
            assert broker.llen(queue) == 1


def test_a_worker_purges_all_three_queues_before_it_works_and_says_how_many(project):
    project.write()
    fill(project)
    with project.worker("-A", "pyramid_celery_tm.celery_app", "--purge") as worker:
        worker.wait_for("Erased 3 messages")
        assert "received" not in worker.output()


def test_purge_empties_the_queues(project):
    project.write()
    fill(project)
    assert "Purged 3 messages from 3" in project.run("purge", "-f", "--ini", "test.ini").stdout


def test_purge_unacked_drops_what_a_killed_worker_left_and_keeps_what_a_live_one_holds(project):
    project.write(celery="task_acks_late = true")
    with project.running("worker", "--ini", "test.ini", "-l", "info", "-n", "killed") as killed:
        killed.wait_for("ready.")
        project.send("tests.touch_after", 60, str(project.folder / "first"))
        wait_until((project.folder / "first.started").exists, 20, "the first task to start")
        killed.kill_group()
    with project.running("worker", "--ini", "test.ini", "-l", "info", "-n", "live") as live, project.redis() as broker:
        live.wait_for("ready.")
        project.send("tests.touch_after", 60, str(project.folder / "second"))
        wait_until((project.folder / "second.started").exists, 20, "the second task to start")
        assert broker.hlen("unacked") == 2
        other = project.run("purge", "-f", "--unacked", "-Q", "heavy", "--ini", "test.ini")
        assert "Purged 0 un-acked" in other.stdout
        ended = project.run("purge", "-f", "--unacked", "--ini", "test.ini")
        assert "Purged 1 un-acked left by workers that are gone." in ended.stdout
        assert "Kept 1 un-acked that running workers hold." in ended.stdout
        assert (broker.hlen("unacked"), broker.zcard("unacked_index")) == (1, 1)


def test_the_table_of_queues_says_that_no_worker_replied(project):
    project.write(rest="")
    fill(project)
    ended = project.run("queues", "--ini", "test.ini")
    assert ended.stdout.splitlines() == [
        "queue       waiting  un-acked  ETA  active",
        "background        1         0    -       -",
        "celery            1         0    -       -",
        "heavy             1         0    -       -",
        "no workers replied: ETA and active are unknown",
    ]


def test_the_queues_as_json_tell_what_the_workers_are_at(project):
    project.write()
    with project.running("worker", "--ini", "test.ini", "-l", "info") as worker:
        worker.wait_for("ready.")
        project.send("tests.touch_after", 60, str(project.folder / "trace"))
        wait_until((project.folder / "trace.started").exists, 20, "the task to start")
        project.send("tests.add", 1, 2, countdown=600)
        worker.wait_for("tests.add")
        ended = project.run("queues", "--json", "--ini", "test.ini")
    assert json.loads(ended.stdout)[1] == {"name": "celery", "waiting": 0, "unacked": 1, "eta": 1, "active": 1}


def test_rabbitmq_has_no_unacked_leftovers_to_drop_and_says_so(project, rabbitmq_url):
    (project.folder / "test.ini").write_text(
        f"[app:main]\nuse = call:tests.functional.apps.commands:main\n[celery]\nbroker_url = {rabbitmq_url}\n"
    )
    ended = project.run("purge", "-f", "--unacked", "--ini", "test.ini")
    assert ended.returncode != 0
    assert "--unacked is for Redis" in ended.stderr
