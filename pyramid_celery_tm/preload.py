"""``--ini`` for Celery's own command line, which finds the app here as ``pyramid_celery_tm.celery_app``.

``celery -A pyramid_celery_tm.celery_app worker --ini development.ini`` works, as it did with pyramid_celery; it is also
what ``ws-celery multi`` and ``--detach`` run. pyramid_celery's options take effect after Celery has parsed the others,
whose defaults (pool, prefetching, schedule file) are the configuration's. Ours are eager: they take effect first.
"""

from __future__ import annotations

from typing import Any

import click

from .app import celery_app
from .startup import start_from_options

__all__ = ["celery_app"]

_NAMES = {"ini", "ini_var"}


def load_early() -> None:
    """Let the options that pyramid_celery gave the app load the application before any other option is read."""
    for option in celery_app.user_options["preload"]:
        if option.name in _NAMES:
            option.is_eager = True
            option.callback = _collect


def _collect(context: click.Context, option: click.Parameter, value: Any) -> Any:
    values = context.meta.setdefault(__name__, {})
    values[option.name] = value
    if values.keys() == _NAMES:  # the last of them has come
        start_from_options(values)
    return value


load_early()
