"""The small application with a ledger behind an INI file, and tasks that have accidents until somebody helps."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from pyramid_celery_tm import TransactionalTask, celery_app
from tests.application import Note, TaskRecord, make_config


def main(global_config, **settings):
    config = make_config(settings.pop("sqlalchemy.url"), ledger=True, **settings)
    if "unmigrated" in settings:
        TaskRecord.__table__.drop(config.registry["engine"])
    config.configure_celery(global_config)
    return config.make_wsgi_app()


@celery_app.task(base=TransactionalTask, name="fragile")
def fragile(request, remedy):
    """Fails until a file is there."""
    request.dbsession.add(Note(text="fragile"))
    request.dbsession.flush()
    if not Path(remedy).exists():
        raise ValueError(f"no {Path(remedy).name}")
    return 2


def take_poison(request, remedy):
    """Kills its process until a file is there."""
    request.dbsession.add(Note(text="poison"))
    request.dbsession.flush()
    with Path(f"{remedy}.starts").open("a", encoding="utf-8") as starts:
        starts.write("started\n")
    if not Path(remedy).exists():
        os.kill(os.getpid(), signal.SIGKILL)


poison = celery_app.task(base=TransactionalTask, name="poison")(take_poison)
poison_late = celery_app.task(base=TransactionalTask, name="poison_late", acks_late=True, reject_on_worker_lost=True)(
    take_poison
)
