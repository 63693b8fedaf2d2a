"""What follows from an event."""

from __future__ import annotations

import logging

from pyramid.events import subscriber

from pyramid_celery_tm import on_commit

from .events import DeliveryStateChanged

logger = logging.getLogger(__name__)


@subscriber(DeliveryStateChanged)
def log_change(event: DeliveryStateChanged) -> None:
    """Write the change to the log when, and only when, it is saved: a log that tells of undone things misleads."""
    # read now: after the commit the session is closed
    delivery_id, state = event.delivery.id, event.delivery.state
    on_commit(lambda: logger.info("Delivery %s is now %s", delivery_id, state), request=event.request)
