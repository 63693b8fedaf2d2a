"""Programs of which nothing is left: real processes, really killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pyramid_celery_tm import keeper as module
from pyramid_celery_tm.keeper import Keeper, kill_left, marked
from tests.services import wait_until

needs_proc = pytest.mark.skipif(not Path("/proc").is_dir(), reason="the environment of processes is read from /proc")

#: Starts two programs that never end, one of them in a session of its own, says their numbers, and waits.
FAMILY = """
import subprocess, sys
sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
child, stray = subprocess.Popen(sleep), subprocess.Popen(sleep, start_new_session=True)
print(child.pid, stray.pid, flush=True)
child.wait()
"""

#: Keeps such a family, says its numbers, and waits to be killed.
OWNER = f"""
import os, sys, time
from pyramid_celery_tm.keeper import Keeper
keeper = Keeper()
process = keeper.start([sys.executable, "-c", {FAMILY!r}], os.environ)
time.sleep(600)
"""


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that only waits for its parent to take its status does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"


def all_gone(pids: list[int]) -> None:
    wait_until(lambda: not any(map(is_alive, pids)), what=f"the end of {pids}")


def family_of(output) -> list[int]:
    pids = [int(pid) for pid in output.readline().split()]
    assert pids, "it does not run"
    assert all(map(is_alive, pids))
    return pids


@pytest.fixture
def keeper():
    with Keeper() as keeper:
        yield keeper


def start_family(keeper: Keeper) -> tuple[subprocess.Popen[bytes], list[int]]:
    process = keeper.start([sys.executable, "-c", FAMILY], os.environ, stdout=subprocess.PIPE)
    with process.stdout:
        return process, [process.pid, *family_of(process.stdout)]


@needs_proc
def test_a_program_is_cleared_with_its_children_and_those_in_sessions_of_their_own(keeper):
    process, pids = start_family(keeper)

    keeper.clear(process)

    assert process.returncode == -signal.SIGKILL
    all_gone(pids)


@needs_proc
def test_nothing_is_left_when_the_block_is_left():
    with Keeper() as keeper:
        process, pids = start_family(keeper)

    assert process.returncode == -signal.SIGKILL
    all_gone(pids)


@needs_proc
def test_nothing_is_left_of_a_process_that_is_killed():
    owner = subprocess.Popen([sys.executable, "-c", OWNER], stdout=subprocess.PIPE, start_new_session=True)
    with owner.stdout:
        pids = family_of(owner.stdout)

        os.killpg(owner.pid, signal.SIGKILL)
        owner.wait()

    all_gone(pids)


def test_a_program_that_hides_its_environment_is_found_by_its_group(keeper):
    process = keeper.start(["env", "-i", "sleep", "600"], os.environ)
    wait_until(lambda: not marked(next(iter(keeper._marks.values()))), what="the mark to disappear")

    keeper.close()

    assert process.wait(5) == -signal.SIGKILL


def test_a_program_that_cannot_be_started_is_an_error_of_its_caller(keeper):
    with pytest.raises(FileNotFoundError):
        keeper.start(["./no-such-program"], os.environ)


def test_a_program_that_ended_by_itself_is_cleared_as_well(keeper):
    process = keeper.start(["true"], os.environ)
    process.wait()

    keeper.clear(process)

    assert process.returncode == 0


def test_the_guard_is_not_ended_by_the_signals_of_a_terminal_or_a_supervisor(keeper):
    process = keeper.start(["sleep", "600"], os.environ)
    guard = keeper._guard
    # It answers to nothing; that it has read a line says that it has set its signals.
    wait_until(lambda: ignores(guard.pid, signal.SIGTERM), what="the guard")

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        guard.send_signal(number)
    keeper.close()

    assert guard.returncode == 0
    assert process.wait(5) == -signal.SIGKILL


def ignores(pid: int, number: int) -> bool:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    mask = next(int(line.split()[1], 16) for line in lines if line.startswith("SigIgn"))
    return bool(mask >> (number - 1) & 1)


def test_without_proc_the_group_has_to_do(keeper, monkeypatch, tmp_path):
    monkeypatch.setattr(module, "PROC", tmp_path)
    process = keeper.start(["sleep", "600"], os.environ)

    keeper.clear(process)

    assert process.returncode == -signal.SIGKILL


def test_what_will_not_die_is_given_up(monkeypatch, tmp_path):
    """A process that hangs in the kernel carries its mark for ever: here, a file that says so of this very process."""
    (tmp_path / "999999999").mkdir()
    (tmp_path / "999999999" / "environ").write_bytes(b"A=1\0KEPT_x=1\0")
    (tmp_path / "1").mkdir()
    monkeypatch.setattr(module, "PROC", tmp_path)
    monkeypatch.setattr(module, "DYING", 0.05)

    kill_left("KEPT_x", 0)

    assert marked("KEPT_x") == [999999999]
