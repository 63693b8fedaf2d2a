"""What every server of the tests has in common: started, found ready, frozen, stopped, gone."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

T = TypeVar("T")
GUARD = Path(__file__).with_name("guard.py")


class Unavailable(Exception):
    """This machine cannot run the server; the message says what is missing and what would do instead."""


def wait_until(
    condition: Callable[[], T],
    timeout: float = 10.0,
    what: str = "the condition",
    every: float = 0.02,
) -> T:
    """Ask until the answer is true, and return it. The only place of the tests that sleeps.

    :param condition: called again and again; what it raises passes through.
    :param timeout: seconds until the wait is given up.
    :param what: what is waited for, for the error.
    :param every: seconds between two questions.
    :raise AssertionError: it did not become true in time.
    """
    deadline = time.monotonic() + timeout
    while not (answer := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout:g} s in vain for {what}; last answer: {answer!r}")
        time.sleep(every)
    return answer


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Service:
    """A server of its own directory and process group, that ends with this process.

    Children give :meth:`command` and :meth:`is_ready`. Use it with ``with``, or :meth:`start` and :meth:`close`.
    """

    name = "server"
    stop_signal = signal.SIGTERM
    start_timeout = 30.0

    def __init__(self, user: str | None = None) -> None:
        self.user = user
        self.directory = Path(tempfile.mkdtemp(prefix=f"test-{self.name}-"))
        if user is not None:
            shutil.chown(self.directory, user)
        self.pid = 0
        self._guard: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str]:
        raise NotImplementedError

    def is_ready(self) -> bool:
        raise NotImplementedError

    def environment(self) -> Mapping[str, str]:
        return os.environ

    def start(self) -> Self:
        """Start the server, and return when it answers; one that was stopped finds its files again."""
        order = {
            "command": self.command(),
            "directory": str(self.directory),
            "user": self.user,
            "signal": int(self.stop_signal),
        }
        self._guard = subprocess.Popen(
            [sys.executable, "-I", "-S", str(GUARD), json.dumps(order)],
            env=self.environment(),  # inherited by the server, and not on a command line for everybody to read
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # CTRL+C is for the tests: the server must outlive their teardown
        )
        assert self._guard.stdout is not None
        self.pid = int(self._guard.stdout.readline())
        try:
            wait_until(self._is_up, self.start_timeout, f"{self.name} to answer")
        except BaseException as error:
            error.add_note(f"The log of {self.name}:\n{self.log()}")
            self.close()  # nobody else has it yet
            raise
        return self

    def stop(self) -> None:
        """End the server and keep its directory; :meth:`start` may follow."""
        self._end(b"keep")

    def restart(self) -> None:
        self.stop()
        self.start()

    def close(self) -> None:
        """End the server and remove its directory."""
        self._end(b"")
        shutil.rmtree(self.directory, ignore_errors=True)

    def kill(self) -> None:
        """End the server as a power cut would, and keep its directory."""
        os.killpg(self.pid, signal.SIGKILL)
        self._end(b"keep")

    def freeze(self) -> None:
        """Stop the clock of the server: connections stay open, and nothing is answered."""
        os.killpg(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.killpg(self.pid, signal.SIGCONT)

    def is_running(self) -> bool:
        """Whether the process is there, answering or not."""
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        return True

    def log(self) -> str:
        """What the server has said so far."""
        file = self.directory / "log"
        return file.read_text(errors="replace") if file.exists() else ""

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _is_up(self) -> bool:
        if not self.is_running():
            raise RuntimeError(f"{self.name} ended while it started")
        return self.is_ready()

    def _end(self, last_word: bytes) -> None:
        guard, self._guard = self._guard, None
        if guard is not None:
            with guard:
                guard.communicate(last_word)
