"""An application whose schedule is kept in its ledger; each tick leaves its id."""

from __future__ import annotations

from sqlalchemy.pool import QueuePool

from pyramid_celery_tm import TransactionalTask, celery_app
from tests.application import Note, make_config


def main(global_config, **settings):
    config = make_config(settings.pop("sqlalchemy.url"), pool=QueuePool, ledger=True, **settings)
    config.configure_celery(global_config)
    return config.make_wsgi_app()


@celery_app.task(base=TransactionalTask, name="beats.tick", bind=True)
def tick(self, request):
    request.dbsession.add(Note(text=self.request.id))
