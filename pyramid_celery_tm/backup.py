"""Run the backup script of a site, so that nothing of it is left running afterwards."""

from __future__ import annotations

import logging
import math
import os
import re
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread
from typing import IO, Any, cast
from urllib.parse import unquote, urlsplit

from pyramid.path import AssetResolver
from pyramid.registry import Registry

from .exceptions import BackupFailed
from .keeper import Keeper

logger = logging.getLogger(__name__)

SCRIPT = "backup_script"
TIMEOUT = "backup_timeout"
DEFAULT_SECONDS = 12000.0
#: Seconds between the polite signal and the other one.
GRACE = 5.0
#: How many lines of the output an error shows.
LAST_LINES = 20
SECRET_NAME = re.compile("secret|password|passwd|token|key", re.IGNORECASE)
#: A shorter secret is not looked for in the output: it would blot out half of it.
SHORTEST_SECRET = 4


def backup_site(registry: Registry) -> None:
    """Run the script that the setting ``backup_script`` names, and log its output line by line while it runs.

    ``backup_script`` is an asset (``myapp:scripts/backup.bash``) or a path; without it nothing is done. After
    ``backup_timeout`` seconds (12000, if not set) the script and all it has started are ended, as they are when the
    task is interrupted or its worker is killed. :func:`environment` says what the script finds in its environment.

    :raises pyramid_celery_tm.exceptions.BackupFailed: the script is missing or not executable, ended with a status
        other than 0, or took too long; or a setting is wrong. The message shows the last lines of the output.
    """
    settings = registry.settings or {}
    spec = settings.get(SCRIPT, "").strip()
    if not spec:
        logger.info("There is no backup to run: the setting %s is not set", SCRIPT)
        return
    script = _find(spec)
    seconds = _seconds(settings.get(TIMEOUT, DEFAULT_SECONDS))
    lines: deque[str] = deque(maxlen=LAST_LINES)
    status = _run(script, seconds, settings, lines)
    if status != 0:
        shown = "".join(f"\n  {line}" for line in lines)
        raise BackupFailed(f"{script} {_reason(status, seconds)}; its last output:{shown or ' none'}")


def environment(settings: Mapping[str, Any]) -> dict[str, str]:
    """Return the environment of the script.

    - all that the worker's own environment has, ``PATH`` and ``HOME`` among it;
    - ``PYTHON``, the interpreter that runs the worker;
    - each setting that is a string as ``MAIN_<NAME>``: in capitals, every run of other characters than letters and
      digits an underscore, so that ``sqlalchemy.url`` is ``MAIN_SQLALCHEMY_URL``;
    - a setting whose name contains secret, password, passwd, token or key as ``SECRET_<NAME>`` instead.

    >>> environment({"site.secret": "x"})["SECRET_SITE_SECRET"]
    'x'
    """
    texts = {name: value for name, value in settings.items() if isinstance(value, str)}
    return {**os.environ, **{_variable(name): value for name, value in texts.items()}, "PYTHON": sys.executable}


def _variable(name: str) -> str:
    prefix = "SECRET" if SECRET_NAME.search(name) else "MAIN"
    return f"{prefix}_{re.sub('[^A-Za-z0-9]+', '_', name).upper()}"


def _find(spec: str) -> Path:
    try:
        # ":" is what tells an asset from a path, as everywhere in Pyramid.
        path = Path(AssetResolver(None).resolve(spec).abspath() if ":" in spec else spec)
    except ImportError as error:
        raise BackupFailed(f"{SCRIPT} = {spec}: {error}; allowed are package:path/of/script and a path") from None
    if not path.is_file():
        raise BackupFailed(f"{SCRIPT} = {spec}: there is no file {path.absolute()}")
    if not os.access(path, os.X_OK):
        raise BackupFailed(f"{SCRIPT} = {spec}: {path.absolute()} is not executable; chmod +x makes it so")
    return path.absolute()


def _seconds(value: object) -> float:
    with suppress(ValueError):
        seconds = float(str(value))
        if 0 < seconds < math.inf:
            return seconds
    raise BackupFailed(f"{TIMEOUT} = {value}: a number of seconds greater than 0 is allowed")


def _run(script: Path, seconds: float, settings: Mapping[str, Any], lines: deque[str]) -> int | None:
    """Return the exit status; None if the time was over."""
    with Keeper() as keeper:
        try:
            process = keeper.start(
                [str(script)],
                environment(settings),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
        except OSError as error:
            raise BackupFailed(f"{script} cannot be started: {error.strerror}; does it begin with #! ?") from error
        with _logged(cast(IO[bytes], process.stdout), list(_secrets(settings)), lines):
            try:
                return process.wait(seconds)
            except subprocess.TimeoutExpired:
                return None
            finally:
                # Whatever comes: the script's end, the time's, a soft time limit, the worker's own end.
                _end(process)
                keeper.clear(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask all processes of the group to end, and give them a while."""
    deadline = time.monotonic() + GRACE
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
        while time.monotonic() < deadline:
            # The script itself counts as long as nobody has asked for its status.
            process.poll()
            os.killpg(process.pid, 0)
            time.sleep(0.02)


@contextmanager
def _logged(output: IO[bytes], secrets: list[str], lines: deque[str]) -> Iterator[None]:
    """Log what the script says while the block runs, and keep the last lines."""

    def read() -> None:
        with output:
            for raw in iter(lambda: output.readline(2**16), b""):
                line = raw.decode("utf-8", "replace").rstrip()
                for secret in secrets:
                    line = line.replace(secret, "***")
                lines.append(line)
                logger.info("%s", line)

    reader = Thread(target=read, name="backup-output", daemon=True)
    reader.start()
    try:
        yield
    finally:
        # Nobody is left to write. Bounded all the same: without /proc, one in a session of its own may have got away.
        reader.join(GRACE)


def _secrets(settings: Mapping[str, Any]) -> Iterator[str]:
    """The values that must not be seen in a log, the longest first."""
    found: set[str] = set()
    for name, value in settings.items():
        if isinstance(value, str):
            found.update(value.split() if SECRET_NAME.search(name) else _password(value))
    yield from sorted((value for value in found if len(value) >= SHORTEST_SECRET), key=len, reverse=True)


def _password(url: str) -> set[str]:
    with suppress(ValueError):
        password = urlsplit(url).password or ""
        return {password, unquote(password)}
    return set()


def _reason(status: int | None, seconds: float) -> str:
    if status is None:
        return f"took longer than {seconds:g} seconds ({TIMEOUT}) and was ended"
    if status < 0:
        return f"was ended by {signal.Signals(-status).name}"
    return f"ended with status {status}"
