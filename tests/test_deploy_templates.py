"""The templates of the deployment: rendered as Ansible does, and run by a real supervisor."""

from __future__ import annotations

import configparser
import getpass
import json
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from tests.services import Service, free_port, wait_until

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
AT = "/srv/shop"


def render(name: str, **variables: object) -> str:
    # Ansible's template module trims blocks; a user with plain Jinja does not
    environment = Environment(
        loader=FileSystemLoader(ROOT / "supervisor"),
        undefined=StrictUndefined,
        trim_blocks=True,
        autoescape=select_autoescape(),
    )
    return environment.get_template(name).render(variables)


def parse(text: str) -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser(strict=True)
    parser.read_string(text)
    return parser


def optional_workers(text: str) -> str:
    """The text with its commented programs taken in."""
    before, mark, programs = text.partition(";[program:")
    return before + re.sub(r"^;", "", mark + programs, flags=re.MULTILINE)


@pytest.fixture
def celery() -> configparser.RawConfigParser:
    return parse(render("celery.conf.j2", deploy_location=AT, site_id="shop"))


def test_two_variables_are_enough_for_beat_and_worker(celery):
    assert celery.sections() == ["program:celerybeat", "program:celeryworker"]


def test_beat_runs_once_and_keeps_its_files_in_run(celery):
    beat = dict(celery["program:celerybeat"])
    assert beat == {
        "command": f"{AT}/venv/bin/ws-celery beat -A pyramid_celery_tm.celery_app --ini {AT}/shop.ini --loglevel=info "
        f"--pidfile={AT}/run/celerybeat.pid -s {AT}/run/celerybeat-schedule",
        "stderr_logfile": f"{AT}/logs/celery-beat.log",
        "directory": AT,
        "user": "www-data",
        "numprocs": "1",
        "autostart": "true",
        "autorestart": "true",
        "startsecs": "10",
        "stopwaitsecs": "600",
    }


def test_the_worker_is_asked_to_stop_warmly_and_ends_as_a_group(celery):
    worker = dict(celery["program:celeryworker"])
    assert worker == {
        "command": f"{AT}/venv/bin/ws-celery worker -A pyramid_celery_tm.celery_app --ini {AT}/shop.ini "
        "--loglevel=info",
        "stderr_logfile": f"{AT}/logs/celery-worker.log",
        "directory": AT,
        "user": "www-data",
        "autostart": "true",
        "autorestart": "true",
        "startsecs": "10",
        "stopwaitsecs": "600",
        "stopsignal": "TERM",
        "killasgroup": "true",
    }


def test_root_is_forced_only_when_asked_for():
    text = render("celery.conf.j2", deploy_location=AT, site_id="shop", celery_force_root=True, celery_loglevel="debug")
    worker = parse(text)["program:celeryworker"]
    assert worker["environment"] == 'C_FORCE_ROOT="true"'
    assert worker["command"].endswith("--loglevel=debug")


def test_the_optional_workers_serve_a_queue_each():
    text = optional_workers(render("celery.conf.j2", deploy_location=AT, site_id="shop"))
    parser = parse(text)
    queues = {name: re.search(r"-Q (\w+)", parser[name]["command"])[1] for name in parser.sections()[2:]}
    assert queues == {"program:celeryworker-heavy": "heavy", "program:celeryworker-background": "background"}


def test_the_group_names_programs_that_exist(celery):
    web = parse(render("web.conf.j2", deploy_location=AT, site_id="shop"))
    programs = {f"program:{name}" for name in web["group:shop"]["programs"].split(",")}
    assert programs == {"program:web", *celery.sections()}


def test_the_playbook_passes_the_syntax_check(tmp_path):
    checked = subprocess.run(
        [BIN / "ansible-playbook", "--syntax-check", "-i", "ansible/inventory.example", "ansible/site.yml"],
        cwd=ROOT,
        env={"PATH": f"{BIN}:/usr/bin:/bin", "HOME": str(tmp_path), "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "playbook: ansible/site.yml" in checked.stdout


class Supervisor(Service):
    """supervisord with one site of the rendered templates, in its own folder."""

    name = "supervisord"
    start_timeout = 30.0

    def __init__(self, redis_url: str, postgresql_url: str) -> None:
        super().__init__()
        self.redis_url, self.postgresql_url = redis_url, postgresql_url
        self.port = free_port()
        self.socket = self.directory / "control"
        for folder in ("logs", "run"):
            (self.directory / folder).mkdir()
        (self.directory / "venv").symlink_to(BIN.parent)
        (self.directory / "shop.ini").write_text(self.ini())
        (self.directory / "supervisord.conf").write_text(self.configuration())

    def ini(self) -> str:
        """production.ini with other addresses."""
        text = (ROOT / "production.ini").read_text()
        for found, put in (
            (r"^(broker_url|result_backend) = .*", rf"\1 = {self.redis_url}"),
            (r"^redis.url = .*", f"redis.url = {self.redis_url}"),
            (r"^listen = .*", f"listen = 127.0.0.1:{self.port}"),
            (r"^sqlalchemy.url = .*", f"sqlalchemy.url = {self.postgresql_url}"),
        ):
            text, count = re.subn(found, put, text, flags=re.MULTILINE)
            assert count, f"production.ini has no line like {found}"
        return text

    def configuration(self) -> str:
        given = {"deploy_location": self.directory, "site_id": "shop", "celery_user": getpass.getuser()}
        programs = optional_workers(render("celery.conf.j2", **given)) + "\n" + render("web.conf.j2", **given)
        # only how long a program must live before it counts as running is cut short
        programs = re.sub(r"^startsecs=\d+", "startsecs=1", programs, flags=re.MULTILINE)
        return f"""
[supervisord]
nodaemon=true
user={getpass.getuser()}
logfile={self.directory}/logs/supervisord.log
pidfile={self.directory}/run/supervisord.pid
[unix_http_server]
file={self.socket}
[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
[supervisorctl]
serverurl=unix://{self.socket}
{programs}"""

    def command(self) -> list[str]:
        return [str(BIN / "supervisord"), "-c", str(self.directory / "supervisord.conf")]

    def control(self, *words: str) -> str:
        """What ``supervisorctl`` answers."""
        command = [BIN / "supervisorctl", "-c", self.directory / "supervisord.conf", *words]
        return subprocess.run(command, cwd=self.directory, capture_output=True, text=True, check=False).stdout

    def states(self) -> dict[str, str]:
        return dict(line.split()[:2] for line in self.control("status").splitlines() if " " in line)

    def is_ready(self) -> bool:
        states = self.states()
        if trouble := {"BACKOFF", "FATAL", "EXITED"} & set(states.values()):
            raise AssertionError(f"{trouble}: {states}")
        return bool(states) and set(states.values()) == {"RUNNING"}

    def log(self) -> str:
        files = [self.directory / "log", *(self.directory / "logs").iterdir()]
        return "\n".join(f"{file.name}:\n{file.read_text()}" for file in files)

    def celery(self, *words: str) -> str:
        command = [BIN / "ws-celery", *words, "--ini", self.directory / "shop.ini"]
        return subprocess.run(command, cwd=self.directory, capture_output=True, text=True, check=False).stdout


@pytest.fixture
def supervisor(redis_url: str, postgresql_url: str) -> Iterator[Supervisor]:
    with Supervisor(redis_url, postgresql_url) as running:
        yield running


def test_the_rendered_command_lines_run_under_a_real_supervisor(supervisor):
    assert set(supervisor.states()) == {
        "shop:web",
        "shop:celerybeat",
        "shop:celeryworker",
        "celeryworker-heavy",
        "celeryworker-background",
    }
    wait_until(
        lambda: len(re.findall(r"(?:celery|heavy|background)@\S+ ready", supervisor.log())) == 3, 30, "3 workers"
    )
    answers = json.loads(supervisor.celery("inspect", "ping", "--json"))
    assert {name.partition("@")[0] for name in answers} == {"celery", "heavy", "background"}
    with urllib.request.urlopen(f"http://127.0.0.1:{supervisor.port}/static/myapp.css", timeout=10) as page:
        assert page.status == 200
    assert (supervisor.directory / "run" / "celerybeat.pid").exists()

    supervisor.control("stop", "all")
    assert set(supervisor.states().values()) == {"STOPPED"}
    assert not (supervisor.directory / "run" / "celerybeat.pid").exists()
    daemon_log = (supervisor.directory / "logs" / "supervisord.log").read_text()
    assert "SIGKILL" not in daemon_log
    assert "stopped: celeryworker (exit status 0)" in daemon_log
    assert "stopped: celerybeat (exit status 0)" in daemon_log
