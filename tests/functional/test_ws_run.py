"""ws-run as a developer runs it: real web server, worker, beat and Redis, and nothing left of them."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from threading import Thread
from uuid import uuid4

import pytest

pytest.importorskip("honcho")
pytest.importorskip("hupper")

from pyramid_celery_tm.keeper import marked
from pyramid_celery_tm.scripts.broker import Address
from pyramid_celery_tm.scripts.ws_run import main
from tests.services import free_port, wait_until

ROOT = Path(__file__).parents[2]
APP = Path(__file__).with_name("apps") / "pages.py"

INI = """
[app:main]
use = call:pages:main
redis.url = redis://127.0.0.1:%(redis)s/1

[server:main]
use = egg:waitress#main
listen = 127.0.0.1:%(port)s

[celery]
broker_url = redis://127.0.0.1:%(redis)s/3
result_backend = redis://127.0.0.1:%(redis)s/3
imports = pages
worker_concurrency = 1

[celerybeat:tick]
task = note
type = integer
schedule = 1
args = ["tick", 0]
"""


class Run:
    """A ws-run in a directory of its own, with its output."""

    def __init__(self, directory: Path, *options: str, port: int | None = None, redis: int | None = None) -> None:
        self.port, self.redis = port or free_port(), redis or free_port()
        self.directory = directory
        shutil.copy(APP, directory)
        (directory / "development.ini").write_text(INI)
        # Whatever descends from it carries this.
        self.mark = f"TEST_{uuid4().hex}"
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        variables = f"port={self.port},redis={self.redis}"
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "pyramid_celery_tm.scripts.ws_run",
                "development.ini",
                "--ini-var",
                variables,
                *options,
            ],
            cwd=directory,
            env={**os.environ, "PYTHONPATH": path, self.mark: "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.output = ""
        self._reader = Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        with self.process.stdout as lines:
            for line in lines:
                self.output += line

    def has(self, text: str, times: int = 1) -> None:
        wait_until(lambda: self.output.count(text) >= times, 30, f"{times} times {text!r} in\n{self.output}")

    def page(self, query: str = "") -> str:
        def get() -> str:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/?{query}", timeout=5) as answer:
                    return answer.read().decode()
            except (urllib.error.URLError, ConnectionError):
                return ""

        return wait_until(get, 30, f"the page; output:\n{self.output}")

    def status(self) -> int:
        """Wait for the end; return the exit status."""
        status = self.process.wait(30)
        self._reader.join(10)
        return status

    def is_gone(self) -> None:
        """See that nothing is left: no process, and nobody who listens."""
        wait_until(lambda: not marked(self.mark), what="the end of all processes")
        assert not Address("127.0.0.1", self.port).is_taken()

    def redis_is_gone(self) -> None:
        wait_until(lambda: not Address("127.0.0.1", self.redis).is_taken(), what="the end of Redis")


@pytest.fixture
def run(tmp_path):
    """Starts ws-run."""
    runs = []

    def run(*options, **more):
        runs.append(Run(tmp_path, *options, **more))
        return runs[-1]

    yield run
    for started in runs:
        if started.process.poll() is None:
            started.process.kill()
        started.status()


def test_a_developers_session(run, tmp_path):
    session = run()
    session.has(f"started a Redis at 127.0.0.1:{session.redis} (broker_url, result_backend, redis.url)")
    assert session.page("text=hello") == "first edition"
    session.has("noted: hello")
    session.has("noted: tick")

    app = tmp_path / "pages.py"
    app.write_text(app.read_text().replace("first edition", "second edition"))
    session.has(f"{app} changed: all are started anew")
    session.has("celery beat v", 2)
    wait_until(lambda: session.page("text=again") == "second edition", 30, "the second edition")
    session.has("noted: again")

    session.process.send_signal(signal.SIGINT)
    assert session.status() == 0, session.output
    assert "Traceback" not in session.output
    assert "killed" not in session.output
    session.is_gone()
    session.redis_is_gone()
    assert {path.name for path in tmp_path.iterdir()} <= {"development.ini", "pages.py", ".run", "__pycache__"}


def test_ctrl_c_lets_the_worker_end_its_task(run):
    """A terminal sends SIGINT to its whole foreground group. A worker that heard it twice would drop the task."""
    session = run("--no-reload")
    session.page("text=slow&seconds=1.5")
    session.has("begun: slow")

    os.killpg(session.process.pid, signal.SIGINT)

    assert session.status() == 0, session.output
    assert "noted: slow" in session.output
    session.is_gone()


def test_sigterm_ends_all(run):
    session = run("--no-reload")
    session.page()

    session.process.send_signal(signal.SIGTERM)

    assert session.status() == 0, session.output
    session.is_gone()
    session.redis_is_gone()


def test_nothing_is_left_when_it_is_killed(run):
    session = run()
    session.page("text=slow&seconds=60")
    session.has("begun: slow")
    assert len(marked(session.mark)) > 4

    session.process.kill()

    assert session.status() == -signal.SIGKILL
    session.is_gone()
    session.redis_is_gone()


def test_a_redis_that_runs_is_used_and_left_alone(run, valkey):
    session = run("--no-beat", "--no-reload", redis=valkey.port)
    session.has(f"uses the server that runs at 127.0.0.1:{valkey.port}")
    session.page("text=hello")
    session.has("noted: hello")
    session.process.send_signal(signal.SIGINT)

    assert session.status() == 0, session.output
    assert " beat " not in session.output
    session.is_gone()
    assert valkey.is_ready()


def test_when_the_worker_is_killed_all_end_and_it_is_named(run):
    session = run()
    session.has("queues]")
    worker = min(pid for pid in marked(session.mark) if b"\0worker\0" in Path(f"/proc/{pid}/cmdline").read_bytes())

    os.kill(worker, signal.SIGKILL)

    assert session.status() == 137, session.output
    assert "worker was ended by SIGKILL: all end" in session.output
    session.is_gone()
    session.redis_is_gone()


def test_a_web_server_that_cannot_start_ends_all_and_is_named(run):
    with socket.create_server(("127.0.0.1", 0)) as other:
        session = run(port=other.getsockname()[1])

        assert session.status() == 1, session.output
    assert "Address already in use" in session.output
    assert "web ended by itself with status 1: all end" in session.output
    session.is_gone()
    session.redis_is_gone()


# -- errors in one line


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "ws-run: the following arguments are required: ini; ws-run --help says what is allowed\n"),
        (["a.ini", "--bet"], "ws-run: unrecognized arguments: --bet; ws-run --help says what is allowed\n"),
        (["a.ini", "b.ini"], "ws-run: unrecognized arguments: b.ini; ws-run --help says what is allowed\n"),
    ],
)
def test_a_faulty_command_line_is_one_line(words, message, capsys):
    with pytest.raises(SystemExit) as raised:
        main(words)

    assert (raised.value.code, capsys.readouterr().err) == (2, message)


def test_help_says_what_is_run(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])

    assert "the web server, a worker, beat" in capsys.readouterr().out


@pytest.mark.parametrize("words", [["no-such.ini"], ["no-such.ini", "--ini-var", "a=b"]])
def test_a_missing_file_is_one_line(words, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=r"^ws-run: no-such\.ini: .*no such file.*$") as raised:
        main(words)

    assert "\n" not in raised.value.code
    assert list(tmp_path.iterdir()) == []


def test_a_faulty_variable_is_one_line():
    with pytest.raises(SystemExit, match=r"^ws-run: --ini-var a: 'a' is not of the form name=value"):
        main(["a.ini", "--ini-var", "a"])


def test_each_fault_of_a_file_is_a_line(tmp_path):
    path = tmp_path / "faulty.ini"
    path.write_text("[app:main]\n[celery]\nbroker_ulr = x\ntask_acks_late = perhaps\n")
    with pytest.raises(SystemExit) as raised:
        main([str(path)])

    lines = raised.value.code.splitlines()
    assert len(lines) == 2
    assert all(line.startswith(f"ws-run: {path}: [celery] ") for line in lines)


def test_a_directory_that_cannot_be_made_is_one_line(tmp_path):
    path = tmp_path / "development.ini"
    path.write_text("[app:main]\n[celery]\nbroker_url = memory://\n")
    (tmp_path / ".run").touch()

    with pytest.raises(SystemExit, match=r"^ws-run: .*File exists.*\.run"):
        main([str(path)])


def test_without_its_extra_the_command_says_what_to_install(monkeypatch):
    without_development(monkeypatch)
    monkeypatch.setitem(sys.modules, "honcho.colour", None)

    with pytest.raises(SystemExit, match=r"^ws-run: honcho.* is not installed; pip install 'pyramid_celery_tm\[run\]'"):
        main(["a.ini"])


def test_another_missing_module_is_not_hidden(monkeypatch):
    without_development(monkeypatch)
    monkeypatch.setitem(sys.modules, "plaster", None)

    with pytest.raises(ModuleNotFoundError, match="plaster"):
        main(["a.ini"])


def without_development(monkeypatch):
    for name in ("development", "console"):
        monkeypatch.delitem(sys.modules, f"pyramid_celery_tm.scripts.{name}", raising=False)
