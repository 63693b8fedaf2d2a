"""The first page: how much there is, and what the tasks did last."""

from __future__ import annotations

from typing import Any

from pyramid.request import Request
from pyramid.view import view_config
from sqlalchemy import func, select
from sqlalchemy.orm import joinedload

from ..models import Backup, Delivery, DeliveryState, Review, ReviewMessage

LAST = 10


@view_config(route_name="home", renderer="myapp:templates/home.jinja2", request_method="GET")
def home(request: Request) -> dict[str, Any]:
    """Show the counts, the last messages, and the last backup."""
    dbsession = request.dbsession
    by_state = dict(dbsession.execute(select(Delivery.state, func.count()).group_by(Delivery.state)).all())
    last_messages = (
        select(ReviewMessage)
        .options(joinedload(ReviewMessage.delivery).joinedload(Delivery.customer))
        .order_by(ReviewMessage.created_at.desc(), ReviewMessage.id.desc())
        .limit(LAST)
    )
    return {
        "open": by_state.get(DeliveryState.open, 0),
        "completed": by_state.get(DeliveryState.completed, 0),
        "sent": dbsession.scalar(select(func.count(ReviewMessage.sent_at))),
        "reviews": dbsession.scalar(select(func.count(Review.id))),
        "messages": dbsession.scalars(last_messages).all(),
        "backup": dbsession.scalars(select(Backup).order_by(Backup.made_at.desc()).limit(1)).first(),
    }
