"""A web process that dies: ``python -m tests.faults.victim FILE.ini POINTS`` commits, and is killed, again and again.

Each request runs in a child of its own, whose lines are counted from the first call of a task until the commit returns,
when the call is marked as sent. The first request lives, and says how many lines there are. Each further one is killed
at another line, all of them spread over the whole way, or every single line if POINTS is 0.
"""

from __future__ import annotations

import os
import re
import signal
import sys
from itertools import count

from pyramid.config import global_registries
from pyramid.paster import get_app

from pyramid_celery_tm.request import open_request
from tests.faults.app import Order, effect

#: Where a line may be the last: the library, what commits, and what publishes.
PLACES = re.compile(r"pyramid_celery_tm/|/transaction/|/zope/sqlalchemy/|/sqlalchemy/engine/|/kombu/|/celery/app/amqp")


class Lines:
    """Counts lines, and ends the process at one of them."""

    def __init__(self, last: int | None) -> None:
        self.last = last
        self.seen = 0

    def __call__(self, frame, event, argument):
        if not PLACES.search(frame.f_code.co_filename):
            return None
        if event == "line":
            self.seen += 1
            if self.seen == self.last:
                os.kill(os.getpid(), signal.SIGKILL)
        return self


def request(registry, key: str, lines: Lines) -> None:
    """Save an order, and call two tasks, one of them inside a savepoint."""
    with open_request(registry) as current, current.tm:
        current.dbsession.add(Order(key=key))
        current.dbsession.flush()
        sys.settrace(lines)
        effect.delay(key)
        with current.dbsession.begin_nested():
            effect.delay(f"{key} nested")
        current.tm.commit()
        sys.settrace(None)
        current.tm.begin()


def in_a_child(registry, key: str, last: int | None) -> int:
    """Run a request in a child; how many lines it had, 0 if it was killed."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        lines = Lines(last)
        request(registry, key, lines)
        os.write(write, str(lines.seen).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as answer:
        seen = int(answer.read() or 0)
    os.waitpid(pid, 0)
    return seen


def main() -> None:
    """Print a line for each request: its key, and whether it was killed."""
    ini, points = sys.argv[1], int(sys.argv[2])
    get_app(ini)
    registry = global_registries.last
    lines = in_a_child(registry, "alive", None)
    print("alive", "lived", flush=True)
    step = max(lines // points, 1) if points else 1
    for last in count(1, step):
        seen = in_a_child(registry, f"killed at {last}", last)
        print(f"killed at {last}", "lived" if seen else "died", sep="\t", flush=True)
        if seen:
            break


if __name__ == "__main__":
    main()
