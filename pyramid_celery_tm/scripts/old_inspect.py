"""``from celery.task.control import inspect``, as the source documents write it, for the length of a shell.

Celery 5 has no such module, and its ``inspect()`` answers ``None`` where no worker replies, which is when somebody
looks. The module here exists in ``ws-shell`` alone: elsewhere code that needs it had better learn of it at once.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import partial
from types import ModuleType
from typing import Any

from celery import Celery
from celery.app.control import Inspect

NO_REPLY = "no workers replied"


class NoReplies(dict[str, Any]):
    """The answer of no worker: empty, false, and with one empty list among its values.

    So that ``len(list(i.scheduled().values())[0])`` is 0 where no worker replied, not the end of the recipe.
    """

    def values(self) -> Collection[Any]:  # type: ignore[override]  # a list, for there is no key to view
        """One worker's worth of nothing."""
        return [[]]


class ShellInspect(Inspect):
    """Celery's inspection of workers, which says so where none replied."""

    def _request(self, command: str, **kwargs: Any) -> Any:
        replies = super()._request(command, **kwargs)
        if replies:
            return replies
        print(NO_REPLY)
        return NoReplies()


def make_inspect(app: Celery) -> partial[ShellInspect]:
    """What the shell calls ``inspect``: with the options of Celery's own, for one app."""
    return partial(ShellInspect, app=app)


@contextmanager
def old_module(inspect: Any) -> Iterator[None]:
    """Let ``from celery.task.control import inspect`` work in this process until the block ends."""
    package, control = ModuleType("celery.task"), ModuleType("celery.task.control")
    package.control, control.inspect = control, inspect  # type: ignore[attr-defined]
    modules = {module.__name__: module for module in (package, control)}
    sys.modules.update(modules)
    try:
        yield
    finally:
        for name in modules:
            del sys.modules[name]
