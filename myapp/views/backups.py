"""The backups that the daily task made."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from pyramid.httpexceptions import HTTPSeeOther
from pyramid.request import Request
from pyramid.view import view_config
from sqlalchemy import select

from pyramid_celery_tm.builtin_tasks import backup_task

from ..models import Backup
from ..models.meta import utcnow
from . import task_id_of

LAST = 30
OVERDUE = timedelta(hours=26)
"""A daily backup that is older than this has failed, or was never started."""


@view_config(route_name="backups", renderer="myapp:templates/backups.jinja2", request_method="GET")
def backups(request: Request) -> dict[str, Any]:
    """List the last backups, and warn when there should be a newer one."""
    last = request.dbsession.scalars(select(Backup).order_by(Backup.made_at.desc(), Backup.id.desc()).limit(LAST)).all()
    overdue = not last or last[0].made_at < utcnow() - OVERDUE
    return {"backups": last, "overdue": overdue, "task_id": task_id_of(request)}


@view_config(route_name="backups", request_method="POST")
def back_up_now(request: Request) -> HTTPSeeOther:
    """Have a worker make one now."""
    result = backup_task.delay()
    return HTTPSeeOther(request.route_path("backups", _query={"task": result.id}))
