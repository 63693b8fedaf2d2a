"""Workers, children of their pools, and the database: killed while they work."""

import random
import time

import pytest

from tests.faults.app import effect, late, outside
from tests.faults.test_broker import NAMES, canvas
from tests.faults.world import SCALE, WORKER, kill_some_child, make_due
from tests.services import wait_until

pytestmark = pytest.mark.timeout(900)


def disturb(world, processes, chance, *, twins=True):
    """Kill children and workers at random, and double messages, until all is done; what was done to them."""
    kills = doubled = 0
    last = time.monotonic() + 60 * SCALE

    def is_over():
        nonlocal kills, doubled
        if time.monotonic() < last:
            number = chance.randrange(len(processes))
            if chance.random() < 0.15:
                world.kill(processes[number])
                processes[number] = world.start("worker", *WORKER)
                kills += 1
            elif chance.random() < 0.5:
                kills += kill_some_child(processes[number].pid, chance)
            if twins:
                doubled += make_due(world)
        return not world.open()

    wait_until(is_over, 120 * SCALE + 60, lambda: world.open(), every=0.4)
    return kills, doubled


@pytest.mark.parametrize("seed", range(SCALE))
def test_killed_workers_and_twins_of_messages_lose_and_double_nothing(world, seed):
    chance = random.Random(seed)
    keys = [f"killed {number}" for number in range(150)]
    for number, key in enumerate(keys):
        task = effect if number % 2 else late
        world.request(key, lambda key, task=task: task.delay(key, chance.uniform(0, 0.3)))
    world.request("canvas", canvas)
    world.request("outside", outside.delay)
    processes = [world.start("worker", *WORKER) for _ in range(2)]
    try:
        kills, doubled = disturb(world, processes, chance)
    finally:
        for process in processes:
            world.kill(process)
    expected = keys + [f"canvas {name}" for name in NAMES]
    world.verdict(f"{kills} kills, {doubled} messages doubled", expected)
    assert kills > 5
    assert doubled > 50


def test_two_relays_share_a_backlog_and_one_of_them_may_die(world):
    keys = [f"relayed {number}" for number in range(300)]
    world.pending(keys, effect)
    relays = [world.start("relay"), world.start("relay")]
    try:
        wait_until(lambda: world.sends() > 20, 60, "a first batch")
        world.kill(relays[0])
        wait_until(lambda: world.sends() >= len(keys), 60, "all to be sent")
        sent = world.sends()
        with world.worker():
            world.settle()
    finally:
        for relay in relays:
            world.kill(relay)
    world.verdict(f"two relays, one killed, {sent} sent before any worker", keys)


def test_a_database_that_is_restarted_costs_a_delay(make_world, postgresql):
    world = make_world(postgresql.databases.create())
    keys = [f"database {number}" for number in range(60)]
    for key in keys:
        world.request(key, lambda key: effect.delay(key, 0.1))
    world.request("canvas", canvas)
    with world.worker(), world.worker():
        for stop in (postgresql.kill, postgresql.stop):
            wait_until(lambda: len(world.effects()) >= 5, 60, "some effects")
            stop()
            postgresql.start()
            world.registry["engine"].dispose()
        world.settle(120)
    world.verdict("database killed and restarted", keys + [f"canvas {name}" for name in NAMES])
