"""The broker: closed, frozen, wiped with full queues."""

import shutil
import time

import pytest
from celery import chain, chord, group

from tests.faults.app import effect, follows, outside, tries
from tests.faults.world import SCALE
from tests.services import wait_until

pytestmark = pytest.mark.timeout(600)

CALLS = 40 * SCALE


def wipe(broker):
    """Restart a broker that has lost everything."""
    broker.stop()
    if broker.name == "rabbitmq":
        shutil.rmtree(broker.directory / "mnesia")
    broker.start()


def test_a_broker_that_is_closed_at_the_commit_costs_a_delay(world, broker):
    keys = [f"closed {number}" for number in range(10 * SCALE)]
    broker.stop()
    started = time.monotonic()
    world.request("closed", lambda _: [effect.delay(key) for key in keys])
    assert time.monotonic() - started < 6
    broker.start()
    with world.worker():
        world.settle()
    world.verdict("broker closed", keys)


def test_a_broker_that_hangs_holds_up_a_commit_for_a_bounded_time_and_loses_nothing(world, broker):
    keys = [f"frozen {number}" for number in range(10 * SCALE)]
    world.request("warm", effect.delay)  # a connection that was good is the worse one
    broker.freeze()
    started = time.monotonic()
    world.request("frozen", lambda _: [effect.delay(key) for key in keys])
    seconds = time.monotonic() - started
    broker.thaw()
    assert seconds < 6.5
    with world.worker():
        world.settle()
    world.verdict(f"broker frozen, the commit took {seconds:.1f} s", ["warm", *keys])


def test_a_broker_that_is_wiped_with_full_queues_costs_a_delay(world, broker):
    keys = [f"wiped {number}" for number in range(CALLS)]
    for key in keys:
        world.request(key, effect.delay)
    far = [f"far {number}" for number in range(5)]
    world.request("far", lambda _: [effect.apply_async((key,), countdown=3 + n % 2) for n, key in enumerate(far)])
    world.request("outside", outside.delay)
    wipe(broker)
    with world.worker():
        world.settle()
    world.verdict("broker wiped", keys + far)


def test_a_broker_that_is_wiped_under_running_workers_costs_a_delay(world, broker):
    keys = [f"busy {number}" for number in range(CALLS)]
    with world.worker(), world.worker():
        for key in keys[: CALLS // 2]:
            world.request(key, lambda key: effect.delay(key, 0.05))
        wipe(broker)
        for key in keys[CALLS // 2 :]:
            world.request(key, lambda key: effect.delay(key, 0.05))
        world.settle()
    world.verdict("broker wiped under two workers", keys)


def test_a_retry_whose_broker_is_wiped_between_tries_keeps_its_count(world, broker):
    keys = [f"retry {number}" for number in range(10)]
    with world.worker():
        for key in keys:
            world.request(key, lambda key: tries.delay(key, 3))
        wait_until(lambda: any(row.starts or row.sends for row in world.open()), 30, "a first try")
        for _ in range(2):
            wait_until(lambda: world.retries() >= 1, 30, "a second try")
            wipe(broker)
        world.settle()
    counts = world.verdict("retries over two wipes", keys)
    assert counts["started"] >= 4 * len(keys)
    assert world.retries() == 3


def canvas(key):
    """A chain, a group, a chord with a chain in it, and callbacks: what each of them writes."""
    chain(effect.s(f"{key} a"), follows.s(f"{key} b"), follows.s(f"{key} c")).delay()
    group(effect.s(f"{key} d"), effect.s(f"{key} e")).delay()
    header = [effect.s(f"{key} f"), effect.s(f"{key} g"), chain(effect.s(f"{key} h"), follows.s(f"{key} i"))]
    chord(header, follows.s(f"{key} body")).delay()
    effect.apply_async((f"{key} j",), link=[follows.s(f"{key} k"), follows.s(f"{key} l")])


NAMES = [*"abcdefghijkl", "body"]


def test_chains_groups_chords_and_callbacks_complete_once_across_wipes(world, broker):
    keys = [f"canvas {number}" for number in range(6 * SCALE)]
    for key in keys:
        world.request(key, canvas)
    wipe(broker)
    with world.worker(), world.worker():
        wait_until(lambda: len(world.effects()) > len(keys) * 3, 60, "some of it")
        wipe(broker)
        world.settle()
    world.verdict("canvas over two wipes", [f"{key} {name}" for key in keys for name in NAMES])
