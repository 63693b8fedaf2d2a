"""The backup script: real scripts, and nothing of them left behind."""

from __future__ import annotations

import logging
import os
import signal
import sys
from pathlib import Path
from threading import Thread

import pytest
from pyramid.registry import Registry

from pyramid_celery_tm import backup
from pyramid_celery_tm.backup import backup_site, environment
from pyramid_celery_tm.exceptions import BackupFailed
from tests.services import wait_until
from tests.unit.test_keeper import all_gone, needs_proc


@pytest.fixture
def write(tmp_path):
    """Writes an executable script of bash and returns its path."""

    def write(text: str, mode: int = 0o755, shebang: str = "#!/usr/bin/env bash") -> Path:
        path = tmp_path / "backup.bash"
        path.write_text(f"{shebang}\n{text}\n")
        path.chmod(mode)
        return path

    return write


@pytest.fixture
def output(caplog):
    caplog.set_level(logging.INFO, logger="pyramid_celery_tm.backup")
    return caplog


def run(script: object, **settings: str) -> None:
    registry = Registry()
    registry.settings = {"backup_script": str(script), **settings}
    backup_site(registry)


# -- settings


@pytest.mark.parametrize("settings", [None, {}, {"backup_script": ""}, {"backup_script": "  "}])
def test_without_a_script_nothing_is_done_and_said_so(settings, output):
    registry = Registry()
    registry.settings = settings
    backup_site(registry)

    assert output.messages == ["There is no backup to run: the setting backup_script is not set"]


def test_a_script_may_be_an_asset_of_a_package(output, monkeypatch, tmp_path, write):
    package = tmp_path / "package_of_a_backup"
    (package / "scripts").mkdir(parents=True)
    (package / "__init__.py").touch()
    write("echo from the package").rename(package / "scripts" / "backup.bash")
    monkeypatch.syspath_prepend(str(tmp_path))

    run("package_of_a_backup:scripts/backup.bash")

    assert output.messages == ["from the package"]


def test_a_script_may_be_a_path_from_the_current_directory(output, monkeypatch, tmp_path, write):
    monkeypatch.chdir(tmp_path)

    run(write("echo here").name)

    assert output.messages == ["here"]


def test_a_missing_script_is_named():
    with pytest.raises(BackupFailed, match=r"^backup_script = /no/such/script: there is no file /no/such/script$"):
        run("/no/such/script")


def test_a_missing_package_is_named():
    with pytest.raises(
        BackupFailed, match=r"backup_script = no_package:x\.bash: No module named 'no_package'; allowed"
    ):
        run("no_package:x.bash")


def test_a_script_that_is_not_executable_is_named(write):
    with pytest.raises(BackupFailed, match=r"backup\.bash is not executable; chmod \+x makes it so"):
        run(write("true", mode=0o644))


def test_a_script_of_no_known_kind_is_named(write):
    with pytest.raises(BackupFailed, match=r"backup\.bash cannot be started: Exec format error"):
        run(write("true", shebang=""))


@pytest.mark.parametrize("value", ["0", "-1", "soon", "nan", "inf", ""])
def test_a_timeout_that_is_no_positive_number_is_refused(value, write):
    with pytest.raises(BackupFailed, match=f"^backup_timeout = {value}: a number of seconds greater than 0 is allowed"):
        run(write("true"), backup_timeout=value)


# -- the environment


def test_settings_reach_the_script_under_names_of_its_environment(output, write):
    names = '"$MAIN_SQLALCHEMY_URL $MAIN_A_B_C ${SECRET_API_KEY:0:2} ${MAIN_API_KEY-none} $PYTHON"'
    settings = {"sqlalchemy.url": "sqlite://", "a.-b c": "x", "api.key": "12345678"}
    run(write(f"echo {names}; env | grep -c ^PATH="), **settings)

    assert output.messages == [f"sqlite:// x 12 none {sys.executable}", "1"]


@pytest.mark.parametrize("name", ["session.secret", "db_PASSWORD", "mail.passwd", "api.key", "token"])
def test_a_setting_whose_name_speaks_of_a_secret_has_another_prefix(name):
    names = {name for name in environment({name: "12345678"}) if name.startswith(("MAIN_", "SECRET_"))}

    assert names == {"SECRET_" + name.upper().replace(".", "_")}


def test_a_setting_that_is_no_string_stays_out_of_the_environment():
    assert "MAIN_NUMBER" not in environment({"number": 1})


# -- the output


def test_output_of_both_kinds_is_logged_in_order(output, write):
    run(write("echo one\necho two >&2\nprintf three"))

    assert output.messages == ["one", "two", "three"]
    assert {record.levelname for record in output.records} == {"INFO"}


def test_output_is_logged_while_the_script_runs(output, write, tmp_path):
    go_on = tmp_path / "go-on"
    script = write(f"echo started; until [ -e {go_on} ]; do sleep 0.02; done; echo ended")
    thread = Thread(target=run, args=[script])
    thread.start()
    wait_until(lambda: output.messages == ["started"], what="the first line")
    go_on.touch()
    thread.join()

    assert output.messages == ["started", "ended"]


def test_output_that_is_no_utf8_is_logged_all_the_same(output, write):
    run(write(r"printf 'a\xffb\n'"))

    assert output.messages == ["a\ufffdb"]


def test_secrets_are_not_logged(output, write):
    settings = {
        "session.secret": "first-secret",
        "sqlalchemy.url": "postgresql://me:p%40ssword@there/db",
        "broken.url": "http://[",
        "backup_timeout": 10,
    }
    with pytest.raises(BackupFailed) as raised:
        run(write('echo "$SECRET_SESSION_SECRET|$MAIN_SQLALCHEMY_URL|p@ssword"; exit 1'), **settings)

    assert output.messages == ["***|postgresql://me:***@there/db|***"]
    assert "secret" not in str(raised.value).partition("its last output")[2]


# -- the end


def test_a_script_that_fails_is_reported_with_its_status_and_last_lines(write):
    with pytest.raises(BackupFailed) as raised:
        run(write("for n in {1..30}; do echo line $n; done; exit 3"))

    first, *lines = str(raised.value).splitlines()
    assert first.endswith("backup.bash ended with status 3; its last output:")
    assert lines == [f"  line {number}" for number in range(11, 31)]


def test_a_script_that_says_nothing_and_fails_is_reported_so(write):
    with pytest.raises(BackupFailed, match=r"ended with status 1; its last output: none$"):
        run(write("exit 1"))


def test_a_script_that_is_killed_is_reported_with_the_signal(write):
    with pytest.raises(BackupFailed, match="was ended by SIGKILL"):
        run(write("kill -9 $$"))


def numbers_in(path: Path) -> list[int]:
    return [int(number) for number in path.read_text().split()]


def test_a_script_that_takes_too_long_is_ended_with_its_children(write, tmp_path):
    script = write(f"echo working; sleep 600 & echo $$ $! >{tmp_path}/pids; wait")

    with pytest.raises(BackupFailed) as raised:
        run(script, backup_timeout="0.5")

    assert "took longer than 0.5 seconds (backup_timeout) and was ended; its last output:\n  working" in str(
        raised.value
    )
    all_gone(numbers_in(tmp_path / "pids"))


def test_a_script_may_clean_up_when_it_is_ended(write, tmp_path):
    script = write(f"trap 'rm {tmp_path}/half; echo cleaned up; exit 1' TERM; touch {tmp_path}/half; sleep 600 & wait")

    with pytest.raises(BackupFailed, match="cleaned up"):
        run(script, backup_timeout="0.5")

    assert not (tmp_path / "half").exists()


def test_what_ignores_the_polite_signal_is_killed(write, tmp_path, monkeypatch):
    monkeypatch.setattr(backup, "GRACE", 0.3)
    script = write(f"trap '' TERM; (sleep 600) & echo $$ $! >{tmp_path}/pids; while :; do sleep 600; done")

    with pytest.raises(BackupFailed, match="took longer"):
        run(script, backup_timeout="0.5")

    all_gone(numbers_in(tmp_path / "pids"))


@needs_proc
def test_a_grandchild_that_outlives_its_script_is_ended(write, tmp_path):
    script = write(f"setsid sleep 600 </dev/null >/dev/null 2>&1 & sleep 600 & jobs -p >{tmp_path}/pids")

    run(script)

    all_gone(numbers_in(tmp_path / "pids"))


class Interrupted(BaseException):
    """What a soft time limit, SystemExit and KeyboardInterrupt have in common: it comes from a signal handler."""


def test_an_interrupted_task_leaves_no_script_running(write, tmp_path, output):
    def interrupt(number, frame):
        raise Interrupted

    def send():
        wait_until(lambda: output.messages == ["started"], what="the first line")
        os.kill(os.getpid(), signal.SIGUSR1)

    script = write(f"sleep 600 & echo $$ $! >{tmp_path}/pids; echo started; wait")
    before = signal.signal(signal.SIGUSR1, interrupt)
    sender = Thread(target=send)
    sender.start()
    try:
        with pytest.raises(Interrupted):
            run(script)
    finally:
        sender.join()
        signal.signal(signal.SIGUSR1, before)

    all_gone(numbers_in(tmp_path / "pids"))


@needs_proc
def test_a_killed_worker_leaves_no_script_running(write, tmp_path):
    script = write(f"sleep 600 & echo $$ $! >{tmp_path}/new; mv {tmp_path}/new {tmp_path}/pids; wait")
    child = os.fork()
    if not child:  # pragma: no cover - it is killed
        run(script)
        os._exit(0)
    wait_until((tmp_path / "pids").exists, what="the script")

    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)

    all_gone(numbers_in(tmp_path / "pids"))
