"""The web process, from the first call of a task until the call is marked as sent."""

import os
import subprocess
import sys

import pytest

from pyramid_celery_tm import publish
from tests.faults.app import Effect, Order, effect
from tests.faults.world import ROOT, SCALE

pytestmark = pytest.mark.timeout(3000)


def test_a_web_process_that_is_killed_at_any_point_loses_and_doubles_nothing(world):
    points = 0 if SCALE > 1 else 60
    line = [sys.executable, "-m", "tests.faults.victim", str(world.ini), str(points)]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}
    ended = subprocess.run(line, env=env, cwd=world.folder, capture_output=True, text=True, check=False, timeout=2900)
    assert ended.returncode == 0, ended.stderr
    killed = [line for line in ended.stdout.splitlines() if line.endswith("died")]
    assert len(killed) >= 50
    with world.worker():
        world.settle()
    # What was saved was called, and nothing else: the orders are the model.
    saved = world.keys(Order)
    counts = world.verdict(f"{len(killed)} web processes killed", [k + end for k in saved for end in ("", " nested")])
    assert 2 < counts["called"] < 2 * len(killed)  # some died before the commit, and some after it
    assert set(world.keys(Effect)) <= {key + end for key in saved for end in ("", " nested")}


def test_a_message_that_was_sent_while_its_sender_saw_an_error_is_run_once(world, monkeypatch):
    real = publish._publish

    def sends_and_fails(message):
        real(message)
        raise ConnectionResetError("the answer was lost")

    keys = [f"twin {number}" for number in range(40)]
    with monkeypatch.context() as patched:
        patched.setattr(publish, "_publish", sends_and_fails)
        for key in keys:
            world.request(key, effect.delay)
    with world.worker():
        world.settle()
    world.verdict("sent, and an error seen", keys)
