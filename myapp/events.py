"""What happens in this application, for whoever wants to know."""

from __future__ import annotations

from dataclasses import dataclass

from pyramid.request import Request

from .models import Delivery


@dataclass(frozen=True)
class DeliveryStateChanged:
    """A delivery moved to another state, in a transaction that may still fail."""

    request: Request
    delivery: Delivery
