"""Programs of which nothing outlives the process that started them, however that process ends.

A ``finally`` ends what a process has started, unless the process is killed. For that case a :class:`Keeper` has a
guard: a second, tiny process that reads a pipe of which only the first one holds the other end. End of file means that
the first is gone; the guard then kills what is left.

What a program left behind is found in two ways: by its process group, and by a mark in its environment, which its
children inherit, those in a session of their own too. The mark needs ``/proc``; elsewhere the group has to do. The
group is needed on Linux as well, for a program may write its title over its environment (Valkey does).

Only the standard library is imported: the guard runs this file alone, to be there at once and to stay small.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

PROC = Path("/proc")
#: How long killed processes may take to disappear, in seconds.
DYING = 5.0


class Keeper:
    """Starts programs, each in a session of its own, and ends all that is left of them when its block is left.

    ::

        with Keeper() as keeper:
            process = keeper.start(["backup.bash"], os.environ)
            process.wait()

    Not to be carried through a fork: the guard waits for every copy of its pipe.
    """

    def __init__(self) -> None:
        self._marks: dict[subprocess.Popen[bytes], str] = {}
        # Signals meant for the first process, from a terminal or a supervisor, must not end its guard.
        self._guard = subprocess.Popen(
            [sys.executable, "-I", __file__], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True
        )

    def start(self, command: Sequence[str], env: Mapping[str, str], **options: Any) -> subprocess.Popen[bytes]:
        """Start a program.

        :param command: the program and its arguments.
        :param env: its environment; the mark is added.
        :param options: as for :class:`subprocess.Popen`.
        :raises OSError: it cannot be started.
        """
        mark = f"KEPT_{uuid4().hex}"
        # Told before it exists: this process may die between any two lines.
        self._tell(mark, 0)
        process = subprocess.Popen(command, env={**env, mark: "1"}, start_new_session=True, **options)
        self._marks[process] = mark
        self._tell(mark, process.pid)
        return process

    def clear(self, process: subprocess.Popen[bytes]) -> None:
        """Kill a program, if it runs, and whatever it has started; wait until it is gone."""
        mark = self._marks.pop(process)
        kill_left(mark, process.pid)
        process.wait()
        # From now on its number may be given to a stranger.
        self._tell(mark, -1)

    def close(self) -> None:
        """Clear every program that was not cleared, and let the guard go."""
        try:
            for process in list(self._marks):
                self.clear(process)
        finally:
            # Whatever an interruption left out above is the guard's.
            with suppress(OSError):
                self._pipe.close()
            self._guard.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def _pipe(self) -> Any:
        return self._guard.stdin

    def _tell(self, mark: str, group: int) -> None:
        self._pipe.write(f"{mark} {group}\n".encode())
        self._pipe.flush()


def kill_left(mark: str, group: int) -> None:
    """Kill every process of a group, and every process that carries a mark.

    :param mark: the name of a variable of the environment.
    :param group: the number of the process group; 0 for none.
    """
    deadline = time.monotonic() + DYING
    while time.monotonic() < deadline:
        if group:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(group, signal.SIGKILL)
        left = marked(mark)
        if not left:
            return
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        # Once more: one of them may have started another meanwhile.
        time.sleep(0.01)


def marked(mark: str) -> list[int]:
    """Return the processes whose environment has a variable of this name; none where there is no ``/proc``."""
    wanted = b"\0" + mark.encode() + b"="
    return [int(path.name) for path in PROC.glob("[0-9]*") if wanted in b"\0" + _environ(path)]


def _environ(process: Path) -> bytes:
    # Gone meanwhile, or somebody else's.
    with suppress(OSError):
        return (process / "environ").read_bytes()
    return b""


def main() -> None:
    """The guard: read which programs run, and when nobody is left to tell, kill what they left."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    groups: dict[str, int] = {}
    for line in sys.stdin:
        mark, group = line.split()
        groups[mark] = int(group)
    for mark, known in groups.items():
        if known >= 0:
            kill_left(mark, known)


if __name__ == "__main__":
    main()
