"""Which files a program has loaded, and when one of them changes.

Two sides: :class:`Files` in ws-run, and :func:`main` in each of its programs, which runs a command and tells through a
pipe what it has imported. hupper does the looking on both sides. It would do the restarting too, but then each program
restarts on its own, has a second process that watches it, and stays when it dies; ws-run restarts them together.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from threading import Thread

from hupper.polling import PollingFileMonitor
from hupper.worker import WatchSysModules

#: The variable of the environment that says which file descriptor the names go to.
FILES = "WS_RUN_FILES"
#: How a program begins: CTRL+C while it is still importing ends it without a traceback, and what Pyramid's own import
#: has to say on pkg_resources is not said by three programs at each edit.
START = """
import signal, warnings
signal.signal(signal.SIGINT, signal.SIG_DFL)
warnings.filterwarnings("ignore", "pkg_resources is deprecated as an API", UserWarning)
from pyramid_celery_tm.scripts.reload import main
main()
"""


class Files:
    """Watches files; what to watch is said by the programs themselves.

    :param changed: called with the path of a changed file, in another thread.
    """

    def __init__(self, changed: Callable[[str], None]) -> None:
        # Asks for the times of the files each second: unlike notices of the kernel that works everywhere, in containers
        # and on network drives too.
        self._monitor = PollingFileMonitor(changed, interval=1)
        self._monitor.daemon = True
        self._monitor.start()

    def add(self, path: str) -> None:
        """Watch a file."""
        self._monitor.add_path(path)

    def open(self) -> int:
        """Return a file descriptor that one program may write paths to; the caller closes it."""
        reading, writing = os.pipe()
        Thread(target=self._read, args=[reading], name="ws-run-files", daemon=True).start()
        return writing

    def close(self) -> None:
        """Stop watching."""
        self._monitor.stop()

    def _read(self, reading: int) -> None:
        with open(reading, encoding="utf-8") as lines:
            for line in lines:
                self.add(line.rstrip("\n"))


def command(function: str, *words: str) -> list[str]:
    """The command line of a process that runs a command, and says which files it has loaded.

    :param function: the command's function, as in an entry point: ``MODULE:NAME``.
    :param words: the command line that it sees, its own name first.
    """
    return [sys.executable, "-c", START, function, *words]


def main() -> None:
    """Run the command that :func:`command` has named."""
    module, _, name = sys.argv[1].partition(":")
    del sys.argv[:2]
    pipe = os.environ.pop(FILES, None)
    with _told(int(pipe)) if pipe else nullcontext():
        function = getattr(importlib.import_module(module), name)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            sys.exit(function())
        except KeyboardInterrupt:
            # It was still loading the application.
            sys.exit(128 + signal.SIGINT)


@contextmanager
def _told(pipe: int) -> Iterator[None]:
    # As hupper does: a file that is edited twice in a second must not leave compiled code of the first time behind.
    sys.dont_write_bytecode = True
    watch = WatchSysModules(lambda paths: _tell(pipe, paths))
    watch.daemon = True
    watch.start()
    try:
        yield
    except BaseException as error:
        # What cannot be imported is in no list of modules, and is just what will be edited next.
        watch.search_traceback(error.__traceback__)
        if isinstance(error, SyntaxError) and error.filename:
            watch.watch_paths([error.filename])
        raise
    finally:
        watch.update_paths()


def _tell(pipe: int, paths: list[str]) -> None:
    # Nobody listens any more: ws-run is about to end this process.
    with suppress(OSError):
        os.write(pipe, "".join(f"{path}\n" for path in paths).encode())
