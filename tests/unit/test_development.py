"""What ws-run makes of an INI file: servers, programs, and a line for each server."""

from __future__ import annotations

import io
import os

import pytest

pytest.importorskip("honcho")
pytest.importorskip("hupper")

from pyramid_celery_tm.exceptions import NotConfigured, SettingsError
from pyramid_celery_tm.scripts import development
from pyramid_celery_tm.scripts.broker import wanted_servers
from pyramid_celery_tm.scripts.console import Console, Over
from pyramid_celery_tm.scripts.development import Project, provide
from tests.services import free_port

INI = """
[app:main]
use = call:no_such_module:main
redis.url = redis://localhost/%(database)s
[app:second]
use = call:no_such_module:main
redis.url = redis://localhost/2
[celery]
broker_url = redis://localhost/%(database)s
"""


@pytest.fixture
def project(tmp_path):
    """A project with an INI file of this text; a URI may add to its path."""

    def project(text: str = INI, uri: str = "", **variables: str) -> Project:
        path = tmp_path / "development.ini"
        path.write_text(text)
        return Project(f"{path}{uri}", variables)

    return project


# -- the INI file


def test_settings_are_read_with_variables_and_without_loading_the_application(project):
    project = project(database="7")

    assert project.celery_values()["broker_url"] == "redis://localhost/7"
    assert project.redis_url() == "redis://localhost/7"


def test_the_application_may_be_another_one_of_the_file(project):
    assert project(uri="#second").redis_url() == "redis://localhost/2"


def test_an_application_may_do_without_a_redis_of_its_own(project):
    assert project("[app:main]\nuse = call:x:y\n").redis_url() is None


def test_the_directory_is_beside_the_ini_file_whatever_its_uri(project, tmp_path):
    project = project(uri="#second")

    assert (project.path, project.directory) == (tmp_path / "development.ini", tmp_path / ".run")


def test_a_file_without_celery_is_refused(project):
    with pytest.raises(SettingsError, match=r"\[celery\]: the section is missing"):
        project("[app:main]\n").celery_values()


def test_faults_are_reported_before_anything_is_started(project):
    with pytest.raises(SettingsError, match="broker_ulr"):
        project("[celery]\nbroker_ulr = redis://\n").celery_values()


# -- programs


def words(program) -> list[str]:
    return list(program.command)[4:]


def test_programs_are_given_the_file_and_its_variables(project):
    project = project(port="1", host="a=b")
    web, worker, beat = project.programs("schedule")

    assert words(web) == ["pserve", project.ini, "port=1", "host=a=b"]
    assert words(worker) == ["ws-celery", "worker", "--ini", project.ini, "--ini-var", "port=1,host=a=b"]
    assert words(beat)[:2] == ["ws-celery", "beat"]
    assert words(beat)[-3:] == ["--schedule", "schedule", "--pidfile="]


def test_without_variables_there_are_no_options_for_them(project):
    web, worker, _ = project().programs("schedule")

    assert words(web) == ["pserve", project().ini]
    assert "--ini-var" not in words(worker)


def test_without_a_schedule_there_is_no_beat(project):
    assert [program.name for program in project().programs(None)] == ["web", "worker"]


# -- servers


@pytest.fixture
def say(tmp_path):
    """Provides the server of a broker's URL; returns what was said."""

    def say(url: str) -> list[str]:
        output = io.StringIO()
        try:
            with Console(output, os.environ, reload=False) as console:
                [server] = wanted_servers({"broker_url": url}, None)
                provide(console, server, "redis", tmp_path)
        except Over:
            pass
        return [line.partition("ws-run | ")[2] for line in output.getvalue().splitlines() if "ws-run | " in line]

    return say


def test_a_server_that_runs_is_used(say, valkey):
    assert say(valkey.url()) == [f"uses the server that runs at 127.0.0.1:{valkey.port} (broker_url)"]


def test_a_redis_is_started_where_none_answers(say):
    port = free_port()

    assert say(f"redis://localhost:{port}") == [
        f"started a Redis at localhost:{port} (broker_url) that keeps everything in memory"
    ]


def test_another_kind_of_server_is_left_to_its_owner(say):
    port = free_port()
    remedy = "only a plain Redis can be started here: start it yourself"

    assert say(f"amqp://localhost:{port}") == [f"nothing answers at localhost:{port} (broker_url), and {remedy}"]


def test_another_machine_is_left_to_its_owner(say, monkeypatch):
    monkeypatch.setattr("pyramid_celery_tm.scripts.broker.PATIENCE", 0.2)

    assert say("redis://192.0.2.1") == [
        "nothing answers at 192.0.2.1:6379 (broker_url), and it is on another machine: start it yourself"
    ]


def test_a_redis_that_cannot_start_is_named(say, tmp_path):
    assert say(f"redis+socket://{tmp_path}/no/such/directory/socket") == [
        "redis ended by itself with status 1: all end"
    ]


def test_a_redis_that_does_not_answer_is_an_error(say, monkeypatch):
    monkeypatch.setattr(development, "STARTING", -1.0)

    with pytest.raises(NotConfigured, match=r"the Redis at 127\.0\.0\.1:\d+ does not answer"):
        say(f"redis://127.0.0.1:{free_port()}")
