"""The tasks: a few lines each that call a service, so that a view or a script can call the same."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from celery import shared_task
from pyramid.request import Request
from sqlalchemy import update

from pyramid_celery_tm import RequestAwareTask, TransactionalTask, get_redis
from pyramid_celery_tm import celery_app as celery

from . import messages
from .btcaverage import RedisConverter
from .models import Delivery
from .sms import SmsError, SmsRefused

logger = logging.getLogger(__name__)

BATCH = 100
MAX_TRIES = 8
LONGEST_WAIT = 3600


@shared_task
def add(x: int, y: int) -> int:
    """An ordinary Celery task: no request, sent at once."""
    return x + y


@shared_task(is_heavy_task=True)
def heavy(uuid: int | str = 0) -> None:
    """A task of the queue "heavy"."""
    logger.info("** Heavy %s", uuid)


@celery.task(base=TransactionalTask, bind=True)
def send_review_sms_notification(self: Any, request: Request, delivery_id: int) -> None:
    """Write to the customer of a delivery, asking for a review; ``deliver_message`` sends it after the commit."""
    delivery = request.dbsession.get_one(Delivery, delivery_id)
    review_url = request.route_url("review_public", delivery_uuid=delivery.uuid)
    template = "myapp:templates/sms/review.txt.jinja2"
    values = {"review_url": review_url, "delivery": delivery, "customer": delivery.customer}
    message = messages.write_review_message(request, delivery, template, values, task_id=self.request.id)
    deliver_message.delay(message.id)


# It may start more often than it ends: when its worker is killed, it is sent again. The service knows a second try by
# the message's uuid.
@celery.task(base=RequestAwareTask, bind=True, max_retries=MAX_TRIES - 1)
def deliver_message(self: Any, request: Request, message_id: int) -> None:
    """Send what was written, with no transaction open meanwhile (see :mod:`myapp.messages`)."""
    with request.tm:
        outgoing = messages.take_outgoing(request.dbsession, message_id)
    if outgoing is None:
        return
    try:
        request.sms.send(outgoing.phone, outgoing.text, outgoing.key)
    except SmsError as error:
        with request.tm:
            messages.note_failure(request.dbsession, message_id, error)
        if isinstance(error, SmsRefused):
            raise
        raise self.retry(exc=error, countdown=min(2**self.request.retries * 5, LONGEST_WAIT)) from error
    with request.tm:
        messages.mark_sent(request.dbsession, message_id)


# No TransactionalTask: it needs no transaction, and must not hold one open while another server thinks.
@celery.task(name="update_conversion_rates", base=RequestAwareTask)
def update_btc_rate(request: Request) -> None:
    """Fetch the conversion rates into Redis."""
    logger.info("Fetching currency conversion rates from API to Redis")
    redis = get_redis(request.registry)
    converter = RedisConverter.from_settings(redis, request.registry.settings)
    converter.update()


@celery.task(base=RequestAwareTask)
def send_in_batches(request: Request, ids: Sequence[int]) -> None:
    """Close the reviews of many deliveries, in transactions of a hundred: what is done stays done."""
    for chunk in (ids[i : i + BATCH] for i in range(0, len(ids), BATCH)):
        with request.tm:
            request.dbsession.execute(update(Delivery).where(Delivery.id.in_(chunk)).values(reviewed=True))
