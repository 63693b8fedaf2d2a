"""The conversion rates, as the last task left them in Redis."""

from __future__ import annotations

import logging
from typing import Any

from pyramid.httpexceptions import HTTPSeeOther
from pyramid.request import Request
from pyramid.settings import asbool
from pyramid.view import view_config
from redis import RedisError

from pyramid_celery_tm import get_redis

from ..btcaverage import ConversionRates, RedisConverter
from ..tasks import update_btc_rate
from . import task_id_of

logger = logging.getLogger(__name__)


@view_config(route_name="rates", renderer="myapp:templates/rates.jinja2", request_method="GET")
def rates(request: Request) -> dict[str, Any]:
    """Show the rates, and when they were fetched."""
    fetched, error = _read(request)
    fake = asbool(request.registry.settings.get("rates.fake", False))
    return {"fetched": fetched, "error": error, "fake": fake, "task_id": task_id_of(request)}


@view_config(route_name="rates", request_method="POST")
def fetch_rates(request: Request) -> HTTPSeeOther:
    """Have a task fetch them now."""
    result = update_btc_rate.delay()
    return HTTPSeeOther(request.route_path("rates", _query={"task": result.id}))


def _read(request: Request) -> tuple[ConversionRates | None, str | None]:
    # The page has more to say than the rates: it comes without them if Redis does not answer.
    try:
        return RedisConverter.from_settings(get_redis(request), request.registry.settings).read(), None
    except RedisError as error:
        logger.warning("The conversion rates cannot be read: %s", error)
        return None, "Redis, where the rates are kept, does not answer."
