"""``--ini`` for Celery's own command line, which finds the app here as ``pyramid_celery_tm.celery_app``.

``celery -A pyramid_celery_tm.celery_app worker --ini development.ini`` works, as it did with pyramid_celery. But Celery
has read some settings by the time it hands over the option (the number of processes, for one), which is why there is
``ws-celery``, which loads the application first.
"""

from __future__ import annotations

from typing import Any

from celery.signals import user_preload_options

from .app import celery_app
from .startup import start_from_options

__all__ = ["celery_app"]


@user_preload_options.connect
def on_preload_options(options: dict[str, Any], **_: Any) -> None:
    """Load the application of ``--ini``; a fault ends the command with one line."""
    start_from_options(options)
