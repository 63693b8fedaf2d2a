"""Runs one server for a test process and ends it with that process, even when that is killed.

A script of its own, started as ``python -I -S guard.py '{"command": [...], ...}'``. It holds the reading end of a
pipe whose writing end only the test process has: the end of that pipe is the end of the server. A parent-death
signal would not do: the kernel sends it when the *thread* that started the server ends, and forgets it when the
user changes.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import threading
from typing import Any

GRACE = 10.0  # seconds between the polite signal and SIGKILL


def main(order: dict[str, Any]) -> int:
    """Start the server, say its process id on standard output, and stay until it has ended.

    :param order: ``command``, ``directory`` (working directory and log), ``user`` (or ``None``) and ``signal`` (the
        number that asks this server to stop). The environment is inherited.
    :return: the exit status of the server.
    """
    with open(os.path.join(order["directory"], "log"), "ab") as log:
        server = subprocess.Popen(
            order["command"],
            cwd=order["directory"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            **identity(order["user"]),
        )
    print(server.pid, flush=True)
    keeper = threading.Thread(target=end_with_the_pipe, args=(server, order))
    keeper.start()
    status = server.wait()
    keeper.join()
    return status


def identity(user: str | None) -> dict[str, Any]:
    """Arguments of ``Popen`` that give up root for good: user, main group and no other group."""
    return {"user": user, "group": group_of(user), "extra_groups": []} if user else {}


def group_of(user: str) -> int:
    return pwd.getpwnam(user).pw_gid


def end_with_the_pipe(server: subprocess.Popen[bytes], order: dict[str, Any]) -> None:
    """Wait for the end of standard input, end the server's processes, remove its files unless told to keep them."""
    keep = sys.stdin.buffer.read()
    tell(server.pid, order["signal"])
    tell(server.pid, signal.SIGCONT)  # a frozen server does not hear anything else
    with contextlib.suppress(subprocess.TimeoutExpired):
        server.wait(GRACE)
    tell(server.pid, signal.SIGKILL)  # also what the server left of its own
    if not keep:
        shutil.rmtree(order["directory"], ignore_errors=True)


def tell(group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, number)


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
