"""The logging of commands: what the INI file says, with ``--loglevel`` and ``--logfile`` on top.

Celery sets up logging of its own unless somebody answers its signal ``setup_logging``. We do where the INI file has a
section ``[loggers]``; where it has none, Celery's is better than nothing.
"""

from __future__ import annotations

import configparser
import logging
import sys
from collections.abc import Iterator, Mapping
from logging.handlers import WatchedFileHandler
from typing import Any

import click
from celery.signals import setup_logging as celery_asks
from click.core import ParameterSource
from plaster import ILoader

from .exceptions import SettingsError

_UID = "pyramid_celery_tm.command_logging"

# What logging.config.fileConfig raises for sections that are missing, incomplete, or name what does not exist.
_FAULTS = (AttributeError, configparser.Error, ImportError, LookupError, NameError, OSError, TypeError, ValueError)


def set_up(loader: ILoader, ini: str, variables: Mapping[str, str], loglevel: int | None = None) -> None:
    """Apply the INI file's logging, and keep Celery from replacing it.

    :param loader: plaster's loader of the file.
    :param ini: the file, for messages.
    :param variables: variables for the file.
    :param loglevel: the level that was asked for on the command line, of :mod:`logging`; ``None`` leaves the file's.
    :raises pyramid_celery_tm.exceptions.SettingsError: the logging sections cannot be used.
    """
    celery_asks.disconnect(dispatch_uid=_UID)
    if "loggers" not in loader.get_sections():
        return
    try:
        loader.setup_logging(dict(variables))
    except _FAULTS as error:
        fault = f"[loggers], [handlers], [formatters] and their like: {type(error).__name__}: {error}"
        raise SettingsError(ini, [fault]) from error
    if loglevel is not None:
        apply_level(loglevel)
    celery_asks.connect(_answer_celery, weak=False, dispatch_uid=_UID)


def apply_level(level: int) -> None:
    """Let this level win over the INI file's, for the root logger, Celery's, and what they write to the console.

    The loggers that the file sets for other packages stay as they are, and so do handlers that are no console: nobody
    who debugs a worker wants its debug messages by mail. A console that is raised quietens them all.
    """
    for logger in _loggers():
        logger.setLevel(level)
        for handler in logger.handlers:
            if _is_console(handler):
                handler.setLevel(level)


def log_to(file: str, line_format: str) -> None:
    """Write what went to the console to a file instead; called again, to another file.

    :param file: its path.
    :param line_format: the format of lines where no console has one.
    """
    root = logging.getLogger()
    replaced = [handler for handler in root.handlers if _is_console(handler) or handler.name == _UID]
    handler = WatchedFileHandler(file, encoding="utf-8")
    handler.name = _UID
    handler.setFormatter(next((old.formatter for old in replaced if old.formatter), logging.Formatter(line_format)))
    handler.setLevel(min((old.level for old in replaced), default=logging.NOTSET))
    for old in replaced:
        root.removeHandler(old)
        old.close()
    root.addHandler(handler)


def _answer_celery(loglevel: int, logfile: str | None, **options: Any) -> None:
    # Celery gives its default where --loglevel is missing; that one must not win over the INI file's.
    context = click.get_current_context(silent=True)
    if context is not None and context.get_parameter_source("loglevel") not in (None, ParameterSource.DEFAULT):
        apply_level(loglevel)
    if logfile:
        log_to(logfile, options["format"])


def _loggers() -> Iterator[logging.Logger]:
    yield logging.getLogger()
    yield logging.getLogger("celery")
    for name, logger in logging.root.manager.loggerDict.items():
        if name.startswith("celery.") and isinstance(logger, logging.Logger) and logger.level != logging.NOTSET:
            yield logger


def _is_console(handler: logging.Handler) -> bool:
    return isinstance(handler, logging.StreamHandler) and handler.stream in (sys.stderr, sys.stdout)
