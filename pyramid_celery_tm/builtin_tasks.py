"""The library's own tasks; name this module among the ``imports`` of ``[celery]`` to have them."""

from __future__ import annotations

import logging

from pyramid.request import Request

from .app import celery_app as celery
from .backup import backup_site
from .task import RequestAwareTask

logger = logging.getLogger(__name__)


@celery.task(name="backup", base=RequestAwareTask, shared=False)
def backup_task(request: Request) -> None:
    """Run the site's backup script; for ``[celerybeat:NAME]``, once a day or so.

    :raises pyramid_celery_tm.exceptions.BackupFailed: there is no backup; the reason and the script's last output.
    """
    logger.info("Running daily backup")
    backup_site(request.registry)
    logger.info("Daily backup done")
