"""Messages to customers: written in one transaction, sent outside of any, marked as sent in another.

Why not simply send it in the task that writes it? A transaction that is open while another company's server thinks
holds a connection and locks for as long; and one that fails to commit after the message went out runs again, and sends
it again. So the words are committed first, and who sends them (``deliver_message``) holds no transaction meanwhile.

What is left: a worker that dies after the service took the message and before that was noted will try once more. The
message's ``uuid`` goes along with each try, by which the service knows the second copy. That is as good as it gets over
HTTP: sent at least once, and once only if the service keeps its part.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pyramid.renderers import render
from pyramid.request import Request
from sqlalchemy.orm import Session

from .models import Delivery, ReviewMessage
from .models.meta import utcnow

MAX_ERROR = 500


@dataclass(frozen=True)
class Outgoing:
    """What must be known to send a message when no transaction is open."""

    phone: str
    text: str
    key: str


def write_review_message(
    request: Request, delivery: Delivery, template: str, values: Mapping[str, Any], task_id: str | None
) -> ReviewMessage:
    """Write the message that asks a customer for a review, unless it was written before.

    :param request: gives the session and renders the template.
    :param delivery: what was delivered.
    :param template: the asset of the text.
    :param values: what the template may use.
    :param task_id: the task that writes it.
    :return: the message, with an id.
    """
    if delivery.review_message is not None:
        return delivery.review_message
    text = render(template, dict(values), request=request).strip()
    message = ReviewMessage(delivery=delivery, phone=delivery.customer.phone, text=text, task_id=task_id)
    request.dbsession.add(message)
    request.dbsession.flush()
    return message


def take_outgoing(dbsession: Session, message_id: int) -> Outgoing | None:
    """Count a try, and hand out what is to be sent.

    :param dbsession: with a transaction open.
    :param message_id: the id of the :class:`~myapp.models.ReviewMessage`.
    :return: what to send, or None if it was sent before, or the message is gone.
    """
    message = _locked(dbsession, message_id)
    if message is None or message.sent_at is not None:
        return None
    message.tries += 1
    return Outgoing(message.phone, message.text, message.uuid)


def mark_sent(dbsession: Session, message_id: int) -> None:
    """Note that the service took the message.

    :param dbsession: with a transaction open.
    :param message_id: the id of the message; one that is gone is nobody's concern any more.
    """
    message = _locked(dbsession, message_id)
    if message is not None:
        message.sent_at = utcnow()
        message.error = None


def note_failure(dbsession: Session, message_id: int, error: Exception) -> None:
    """Note why a try failed.

    :param dbsession: with a transaction open.
    :param message_id: the id of the message.
    :param error: its text is kept, in the length that the column has.
    """
    message = _locked(dbsession, message_id)
    if message is not None:
        message.error = str(error)[:MAX_ERROR]


def _locked(dbsession: Session, message_id: int) -> ReviewMessage | None:
    return dbsession.get(ReviewMessage, message_id, with_for_update=True)
