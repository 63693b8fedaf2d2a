"""Deliveries: the list, one of them, and what can be done to it."""

from __future__ import annotations

from typing import Any

from pyramid.httpexceptions import HTTPNotFound, HTTPSeeOther
from pyramid.request import Request
from pyramid.view import exception_view_config, view_config
from sqlalchemy import select
from sqlalchemy.orm import joinedload

from ..events import DeliveryStateChanged
from ..models import AlreadyCompleted, Delivery, DeliveryState, TaskRecord
from ..sms import ConsoleSms
from ..tasks import send_in_batches, send_review_sms_notification

PAGE = 200


class DeliberateFailure(Exception):
    """The demonstration of a request that fails after it has called a task.

    :param delivery_id: the delivery that was completed for a moment.
    :param task_id: the task that was called.
    """

    def __init__(self, delivery_id: int, task_id: str) -> None:
        super().__init__(f"delivery {delivery_id}, task {task_id}: failed on purpose")
        self.delivery_id = delivery_id
        self.task_id = task_id


@view_config(route_name="deliveries", renderer="myapp:templates/deliveries.jinja2", request_method="GET")
def deliveries(request: Request) -> dict[str, Any]:
    """List the deliveries, those that wait first."""
    newest_open_first = (Delivery.state != DeliveryState.open, Delivery.id.desc())
    with_customer = select(Delivery).options(joinedload(Delivery.customer), joinedload(Delivery.review_message))
    return {"deliveries": request.dbsession.scalars(with_customer.order_by(*newest_open_first).limit(PAGE)).all()}


@view_config(route_name="close_reviews", request_method="POST")
def close_reviews(request: Request) -> HTTPSeeOther:
    """Have a task mark every completed delivery as reviewed."""
    unreviewed = select(Delivery.id).where(Delivery.state == DeliveryState.completed, ~Delivery.reviewed)
    send_in_batches.delay(list(request.dbsession.scalars(unreviewed)))
    return HTTPSeeOther(request.route_path("deliveries"))


@view_config(route_name="delivery", renderer="myapp:templates/delivery.jinja2", request_method="GET")
def delivery(request: Request) -> dict[str, Any]:
    """Show a delivery, what became of its message, and where the ledger says that the task stands."""
    found = _delivery(request)
    task_id = found.review_task_id
    # There is none of an eager task, nor of an old one.
    record = None if task_id is None else request.dbsession.get(TaskRecord, task_id)
    return {"delivery": found, "record": record, "only_logged": isinstance(request.sms, ConsoleSms)}


# Who follows a stale link, or reloads after a form, is shown the delivery; only a form completes it.
@view_config(route_name="complete_delivery", request_method="GET")
@view_config(route_name="complete_and_fail", request_method="GET")
def show_instead(request: Request) -> HTTPSeeOther:
    """Go to the page that has the form."""
    return HTTPSeeOther(request.route_path("delivery", delivery_id=request.matchdict["delivery_id"]))


@view_config(route_name="complete_delivery", request_method="POST")
def complete_delivery(request: Request) -> HTTPSeeOther:
    """Complete a delivery; the customer is written to if this transaction commits."""
    delivery = _delivery(request, lock=True)
    if not delivery.is_completed:  # the form was sent twice: the second time changes nothing
        _complete(request, delivery)
    return show_instead(request)


@view_config(route_name="complete_and_fail", request_method="POST")
def complete_and_fail(request: Request) -> None:
    """Do what ``complete_delivery`` does, and then fail."""
    delivery = _delivery(request, lock=True)
    raise DeliberateFailure(delivery.id, _complete(request, delivery))


@exception_view_config(DeliberateFailure, renderer="myapp:templates/aborted.jinja2")
def aborted(failure: DeliberateFailure, request: Request) -> dict[str, Any]:
    """Tell what is left of a request that failed."""
    request.response.status_int = 500
    # An exception view still runs in the transaction that pyramid_tm will abort after it. What the database says then
    # is what is to be shown, so it is aborted now, and another one is opened to read in.
    request.tm.abort()
    request.tm.begin()
    delivery = request.dbsession.get_one(Delivery, failure.delivery_id)
    return {"failure": failure, "state": delivery.state, "messages": 0 if delivery.review_message is None else 1}


@exception_view_config(AlreadyCompleted, renderer="myapp:templates/conflict.jinja2")
def already_completed(error: AlreadyCompleted, request: Request) -> dict[str, Any]:
    """Say that there is nothing left to complete."""
    request.response.status_int = 409
    return {"delivery_id": request.matchdict["delivery_id"]}


def _complete(request: Request, delivery: Delivery) -> str:
    delivery.complete()
    result = send_review_sms_notification.apply_async(args=(request, delivery.id))
    delivery.review_task_id = result.id
    request.registry.notify(DeliveryStateChanged(request, delivery))
    return str(result.id)


def _delivery(request: Request, *, lock: bool = False) -> Delivery:
    delivery_id = int(request.matchdict["delivery_id"])
    found: Delivery | None = request.dbsession.get(Delivery, delivery_id, with_for_update=lock or None)
    if found is None:
        raise HTTPNotFound(f"There is no delivery {delivery_id}.")
    return found
