"""``map``, ``starmap`` and ``chunks`` of our tasks.

Celery runs them through tasks of its own, which would leave at once. These take their places under the same names: they
wait for the commit where the task that they map waits for it.
"""

from __future__ import annotations

from typing import Any

from celery import Celery
from celery.canvas import maybe_signature

from .deferred_task import DeferredTask


class MapTask(DeferredTask):
    """Deferred if the mapped task is."""

    abstract = True

    def _defers(self, args: Any, kwargs: Any) -> bool:
        return isinstance(maybe_signature(kwargs["task"], app=self.app).type, DeferredTask)


def replace_map_tasks(sender: Celery, **_: Any) -> None:
    """Put ours in the place of Celery's ``celery.map``, ``celery.starmap`` and ``celery.chunks``.

    :param sender: an app that was just finalized; this is a receiver of its signal ``on_after_finalize``.
    """
    for name in ("celery.map", "celery.starmap", "celery.chunks"):
        task = sender._tasks.pop(name)  # noqa: SLF001 - ``tasks`` would finalize the app, which is being finalized
        sender.task(name=name, shared=False, lazy=False, base=MapTask)(task.run)
