"""A page whose request defers a task; copied and edited by the tests of ws-run."""

from __future__ import annotations

import logging
import time

import pyramid_tm
from pyramid.config import Configurator
from pyramid.response import Response

from pyramid_celery_tm import RequestAwareTask, celery_app

logger = logging.getLogger(__name__)
TEXT = "first edition"


@celery_app.task(base=RequestAwareTask, name="note")
def note(request, text, seconds):
    logger.warning("begun: %s", text)
    time.sleep(seconds)
    logger.warning("noted: %s", text)


def page(request):
    note.delay(request.params.get("text", "nothing"), float(request.params.get("seconds", 0)))
    return Response(TEXT)


def main(global_config, **settings):
    with Configurator(settings={"tm.manager_hook": pyramid_tm.explicit_manager, **settings}) as config:
        config.include("pyramid_tm")
        config.include("pyramid_celery_tm")
        config.configure_celery(global_config)
        config.add_route("page", "/")
        config.add_view(page, route_name="page")
    return config.make_wsgi_app()
