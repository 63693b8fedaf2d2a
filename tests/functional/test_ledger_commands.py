"""ws-celery ledger and ws-celery relay as they are typed, with real processes, a real broker and database."""

import json
import signal

import pytest

from pyramid_celery_tm.app import celery_app
from pyramid_celery_tm.packing import unpack
from pyramid_celery_tm.publish import send_each
from pyramid_celery_tm.record import HEADER
from pyramid_celery_tm.scripts import ledger as command
from tests.application import add, configure, make_config, queued, records, texts
from tests.functional.apps.accidents import fragile, poison, poison_late
from tests.functional.project import LOGGING, Project
from tests.services import free_port
from tests.unit.test_ledger_commands import TIMES, call, wait_for_state, wait_until_due

INI = """
[app:main]
use = call:tests.functional.apps.accidents:main
sqlalchemy.url = {database}
{settings}

[celery]
broker_url = {broker}
result_backend = {broker}
imports = tests.functional.apps.accidents
worker_concurrency = 1
"""


@pytest.fixture
def registry(postgresql_url, redis_url):
    return configure(make_config(postgresql_url, ledger=True, **TIMES), redis_url)


@pytest.fixture
def project(tmp_path, redis_url, postgresql_url):
    """An INI file for commands in processes of their own."""
    project = Project(tmp_path, redis_url)

    def write(**settings):
        lines = "\n".join(f"{name} = {value}" for name, value in {**TIMES, **settings}.items())
        text = INI.format(database=postgresql_url, broker=redis_url, settings=lines)
        (tmp_path / "test.ini").write_text(text + LOGGING)

    project.write_settings = write
    write()
    return project


def send_twin(record):
    """Send the message of a row once more, as a broker that delivers it twice does."""
    message, _ = unpack(celery_app, record.name, record.message)
    message.content.headers[HEADER] = 2
    problems = []
    assert send_each([message], lambda *problem: problems.append(problem)) == [message], problems


def test_a_failed_call_is_listed_and_sent_again_and_has_its_effect_once(project, registry):
    remedy = project.folder / "remedy"
    with project.running("worker", "--ini", "test.ini", "-P", "solo", "-l", "info") as worker:
        call_id = call(registry, fragile, str(remedy))
        wait_for_state(registry, call_id, "failed")
        listed = project.run("ledger", "failed", "--ini", "test.ini").stdout
        assert f"{call_id}  fragile" in listed
        assert "ValueError: no remedy" in listed
        shown = project.run("--ini", "test.ini", "ledger", "show", call_id).stdout
        assert f"args=({str(remedy)!r},) kwargs={{}}" in shown
        assert "Traceback (most recent call last):" in shown

        remedy.touch()
        assert project.run("ledger", "resend", call_id, "--ini=test.ini").returncode == 0
        wait_for_state(registry, call_id, "done")
        again = project.run("ledger", "--ini", "test.ini", "resend", call_id)
        assert (again.returncode, again.stderr) == (
            1,
            f"{call_id}: it is done; only what failed or was revoked can be sent again\n",
        )
        send_twin(records(registry)[0])
        worker.wait_for("its work was done before")
    assert texts(registry) == ["fragile"]


@pytest.mark.parametrize("task", [poison, poison_late], ids=["acked before", "rejected when its worker is lost"])
def test_a_task_that_kills_its_workers_is_failed_and_can_be_sent_again(project, registry, task):
    remedy = project.folder / "remedy"
    with project.running("worker", "--ini", "test.ini", "-P", "prefork", "-l", "info"):
        call_id = call(registry, task, str(remedy))
        wait_for_state(registry, call_id, "failed", 90)
        (failed,) = json.loads(project.run("ledger", "failed", "--json", "--ini", "test.ini").stdout)
        starts = len((project.folder / "remedy.starts").read_text().splitlines())
        print(f"{task.name}: {starts} starts, row: {failed['starts']} starts, {failed['sends']} sends")
        assert failed["id"] == call_id
        assert failed["error"].startswith(f"TooManyStarts: task {task.name}[{call_id}] was started 3 times")
        assert starts == 3
        assert texts(registry) == []

        remedy.touch()
        assert project.run("ledger", "resend", "--all-failed", "--ini", "test.ini").returncode == 0
        wait_for_state(registry, call_id, "done")
    assert texts(registry) == ["poison"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_relay_sends_what_a_wiped_broker_has_lost_though_workers_may_run_none(project, registry, number):
    project.write_settings(**{"tasks.relay": "false"})
    call_id = call(registry, add, 1)
    with project.redis() as broker:
        broker.flushdb()
    with project.running("relay", "--ini", "test.ini") as process:
        process.wait_for("The relay of task_record runs until CTRL+C or SIGTERM.")
        process.wait_for("INI INFO pyramid_celery_tm.relay the relay sent 1 calls")
        assert process.end(number, 10) == 0
    assert call_id in {message["id"] for message in queued(project.broker)}


def test_a_relay_may_send_once_what_is_due_and_say_how_many(project, registry):
    calls = {call(registry, add, number) for number in range(2)}
    with project.redis() as broker:
        broker.flushdb()
    wait_until_due(registry)
    ended = project.run("relay", "--once", "--ini", "test.ini")
    assert (ended.returncode, ended.stdout) == (0, "Calls sent: 2\n"), ended.stderr
    assert {message["id"] for message in queued(project.broker)} == calls


def test_a_relay_without_a_broker_says_so_in_one_line(project, registry, redis_url):
    call(registry, add, 1)
    wait_until_due(registry)
    ini = project.folder / "test.ini"
    ini.write_text(
        ini.read_text().replace(f"broker_url = {redis_url}", f"broker_url = redis://127.0.0.1:{free_port()}")
    )
    ended = project.run("relay", "--once", "--ini", "test.ini")
    assert ended.returncode == 1
    assert ended.stderr.startswith("ws-celery: the broker does not answer: the broker did not take 1 of 1 calls")
    assert len(ended.stderr.splitlines()) == 1


@pytest.mark.parametrize("words", [["relay"], ["relay", "--once"], ["ledger", "status"], ["ledger", "resend", "1"]])
def test_without_a_ledger_a_command_says_how_to_have_one(tmp_path, redis_url, words):
    project = Project(tmp_path, redis_url)
    project.write(rest="")
    ended = project.run(*words, "--ini", "test.ini")
    assert (ended.returncode, ended.stdout) == (1, "")
    (line,) = ended.stderr.splitlines()
    assert line == f"ws-celery: {command.NO_LEDGER}"


@pytest.mark.parametrize("words", ["relay", "ledger status"])
def test_a_database_that_was_not_migrated_is_one_line_that_names_the_table(project, words):
    project.write_settings(unmigrated="yes")
    ended = project.run(*words.split(), "--ini", "test.ini")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.splitlines() == [
        "ws-celery: the table task_record is not in the database: run the migrations (alembic upgrade head)"
    ]


@pytest.mark.parametrize(
    "words", ["ledger --help", "relay --help", *(f"ledger {name} --help" for name in command.ledger.commands)]
)
def test_help_needs_no_file(tmp_path, redis_url, words):
    ended = Project(tmp_path, redis_url).run(*words.split())
    assert ended.returncode == 0, ended.stderr
    assert "Usage: " in ended.stdout
