"""A look at the schedule when beat starts: names of tasks that nobody has registered.

Only a warning, for a task may be known to the workers and not to beat. But nearly always it is a slip of the pen, and
beat would go on sending messages that every worker throws away.
"""

from __future__ import annotations

import logging
from difflib import get_close_matches
from typing import Any

from celery import Celery
from celery.signals import beat_init

logger = logging.getLogger(__name__)


def connect() -> None:
    """Look at the schedule whenever beat starts in this process, or as part of a worker (``-B``)."""
    beat_init.connect(_on_beat, dispatch_uid=__name__)


def warn_of_unknown_tasks(app: Celery) -> None:
    """Warn of every scheduled task that is not registered, and name those that it may have been meant to be.

    :param app: the app, with its task modules imported.
    """
    for name, entry in sorted((app.conf.beat_schedule or {}).items()):
        task = entry["task"]
        if task not in app.tasks:
            near = get_close_matches(task, app.tasks, cutoff=0.7)
            hint = f"; perhaps {' or '.join(near)}" if near else "; is its module in the setting imports?"
            logger.warning("[celerybeat:%s] task = %s: no task of that name is registered%s", name, task, hint)


def _on_beat(sender: Any, **_: Any) -> None:
    warn_of_unknown_tasks(sender.app)
