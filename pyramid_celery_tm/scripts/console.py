"""Several programs in one console: their output side by side, and one end for all.

Each program is the leader of a session of its own, so that CTRL+C reaches ws-run alone. It then asks each program once,
and its first process only: a Celery worker that hears SIGINT twice drops its work, and one whose children get a SIGTERM
loses theirs. (honcho's own manager, whose printer is used here, sends SIGTERM to the whole group.)
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from queue import Empty, SimpleQueue
from subprocess import PIPE, STDOUT
from threading import Lock, Thread
from types import FrameType, TracebackType
from typing import IO, Any, NoReturn, Self, TextIO, cast

from honcho.colour import get_colours
from honcho.printer import Message, Printer

from ..keeper import Keeper
from .reload import FILES, Files

#: How long a program may take to end when it is asked to, in seconds. A worker ends its tasks meanwhile.
GRACE = 10.0
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
NAME = "ws-run"


@dataclass(frozen=True)
class Program:
    """What is run.

    :param name: the prefix of its lines.
    :param command: the program and its arguments.
    :param input: what it reads from its standard input.
    :param serves: whether the others need it: then it ends after them, and stays when they are started anew.
    """

    name: str
    command: Sequence[str]
    input: bytes = b""
    serves: bool = False


class Over(Exception):
    """It is time to end.

    :param status: the exit status of ws-run.
    """

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


@dataclass(frozen=True)
class _Asked:
    """Somebody asked ws-run to end."""


@dataclass(frozen=True)
class _Changed:
    path: str


@dataclass(frozen=True)
class _Ended:
    process: subprocess.Popen[bytes]


@dataclass
class _Running:
    program: Program
    process: subprocess.Popen[bytes]
    reader: Thread


_Event = _Asked | _Changed | _Ended


class Console:
    """Runs programs; a context manager, with which all of them end.

    :param output: where all lines go; they are coloured on a terminal.
    :param env: the environment of the programs.
    :param reload: whether programs are started anew when one of their files changes.
    """

    def __init__(self, output: TextIO, env: Mapping[str, str], *, reload: bool) -> None:
        self._env = env
        self._output = output
        self._printer = Printer(output, width=len(NAME), colour="NO_COLOR" not in env)
        self._colours = get_colours()
        self._colour_of: dict[str, str] = {}
        self._printing = Lock()
        self._events: SimpleQueue[_Event] = SimpleQueue()
        self._running: list[_Running] = []
        self._reloads = reload
        self._edited = False
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> Self:
        self._handlers = {number: signal.signal(number, self._note) for number in STOPPING}
        self._keeper = Keeper()
        self._files = Files(lambda path: self._events.put(_Changed(path)))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            # A worker that ends its tasks still needs its broker.
            self._stop([running for running in self._running if not running.program.serves])
            self._stop(list(self._running))
        finally:
            self._keeper.close()
            self._files.close()
            for number, handler in self._handlers.items():
                signal.signal(number, handler)

    def say(self, text: str) -> None:
        """Print a line of ws-run's own."""
        self._print(NAME, text)

    def watch(self, path: str) -> None:
        """Start programs anew when this file changes, too."""
        self._files.add(path)

    def start(self, program: Program) -> None:
        """Start a program.

        :raises OSError: it cannot be started.
        """
        self._give_colour(program.name)
        process = self._spawn(program)
        reader = Thread(target=self._read, args=[program.name, process.stdout], daemon=True)
        self._running.append(_Running(program, process, reader))
        reader.start()
        Thread(target=self._wait, args=[process], daemon=True).start()
        with suppress(BrokenPipeError), cast(IO[bytes], process.stdin) as stdin:
            stdin.write(program.input)

    def _spawn(self, program: Program) -> subprocess.Popen[bytes]:
        start = partial(self._keeper.start, program.command, stdin=PIPE, stdout=PIPE, stderr=STDOUT)
        if program.serves or not self._reloads:
            return start(self._env)
        names = self._files.open()
        try:
            return start({**self._env, FILES: str(names)}, pass_fds=[names])
        finally:
            os.close(names)

    def _give_colour(self, name: str) -> None:
        if name not in self._colour_of:
            self._colour_of[name] = next(self._colours)
            self._printer.width = max(self._printer.width, len(name))

    def wait_for(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Return whether a condition became true in time.

        :raises Over: a program ended meanwhile, or somebody asked for the end.
        """
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                return False
            self._take(0.05)
        return True

    def run(self) -> NoReturn:
        """Run until the end, starting programs anew when a file of theirs changes.

        :raises Over: always.
        """
        programs = [running.program for running in self._running if not running.program.serves]
        while True:
            path = self._take()
            if path is not None and self._reloads:
                self._reload(programs, path)

    def _reload(self, programs: Sequence[Program], path: str) -> None:
        self.say(f"{path} changed: all are started anew")
        self._edited = True
        # Of two requests to end, the second one means at once.
        if self._stop([running for running in self._running if running.program in programs], bear=1):
            raise Over(0)
        for program in programs:
            self.start(program)

    def _take(self, seconds: float | None = None) -> str | None:
        """Wait for something to happen; return the path of a file that changed, if it was that."""
        match self._next(seconds):
            case _Asked():
                self.say("all end; once more, and they end at once")
                raise Over(0)
            case _Ended(process):
                self._note_end(process)
            case _Changed(path):
                return path
        return None

    def _next(self, seconds: float | None) -> _Event | None:
        try:
            return self._events.get(timeout=seconds)
        except Empty:
            return None

    def _note_end(self, process: subprocess.Popen[bytes]) -> None:
        running = next((running for running in self._running if running.process is process), None)
        if running is None:
            # One that was stopped.
            return
        self._collect(running)
        status, name = process.returncode, running.program.name
        how = f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended by itself with status {status}"
        if self._edited and status > 0 and not running.program.serves:
            # Half an edit does not end the day.
            self.say(f"{name} {how}; it is started anew when a file changes")
            return
        self.say(f"{name} {how}: all end")
        raise Over(128 - status if status < 0 else status or 1)

    def _stop(self, stopping: Sequence[_Running], bear: int = 0) -> int:
        """Ask programs to end and wait until they did; return how often somebody asked for the end of all meanwhile.

        :param bear: how many such requests do not make it any faster.
        """
        for running in stopping:
            running.process.send_signal(signal.SIGINT)
        deadline = time.monotonic() + GRACE
        asked, ends = 0, []
        while asked <= bear and time.monotonic() < deadline and any(map(_is_alive, stopping)):
            match self._next(0.1):
                case _Asked():
                    asked += 1
                case _Ended() as end:
                    ends.append(end)
        for running in stopping:
            if _is_alive(running):
                self.say(f"{running.program.name} has not ended and is killed")
            self._collect(running)
        # Among them may be the end of one that nobody has asked.
        for end in ends:
            self._events.put(end)
        return asked

    def _collect(self, running: _Running) -> None:
        """Take a program that ended off the list, with all that it may have left; kill one that did not."""
        self._keeper.clear(running.process)
        self._running.remove(running)
        # Its last lines say why it ended. Nobody writes any more.
        running.reader.join(1)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._events.put(_Asked())

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        process.wait()
        self._events.put(_Ended(process))

    def _read(self, name: str, output: IO[bytes]) -> None:
        with output:
            for line in output:
                self._print(name, line)

    def _print(self, name: str, line: bytes | str) -> None:
        message = Message("line", line, datetime.now().astimezone(), name, self._colour_of.get(name))
        with self._printing:
            try:
                self._printer.write(message)
            except OSError:
                # Nobody reads any more. The programs must not block for that, nor must every line ask to end.
                os.dup2(os.open(os.devnull, os.O_WRONLY), self._output.fileno())
                self._events.put(_Asked())


def _is_alive(running: _Running) -> bool:
    return running.process.poll() is None
