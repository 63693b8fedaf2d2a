"""A source of rates for a machine without a network: the application answers its own question, over real HTTP.

Only there with ``rates.fake = true``, in development. The page says where its numbers come from.
"""

from __future__ import annotations

import math
import time

from pyramid.config import Configurator
from pyramid.request import Request
from pyramid.settings import asbool

PRICES = {"CHF": 56_000, "EUR": 59_000, "GBP": 50_000, "JPY": 9_400_000, "USD": 64_000}
PERIOD = 600
"""Seconds in which a made-up price goes up, down, and back."""


def fake_rates(request: Request) -> dict[str, dict[str, str]]:
    """Answer invented rates, that move a little so that a new fetch can be seen."""
    factor = 1 + 0.01 * math.sin(time.time() / PERIOD * math.tau)
    return {"rates": {code: f"{price * factor:.2f}" for code, price in PRICES.items()}}


def includeme(config: Configurator) -> None:
    """Serve the invented rates, if the settings want them."""
    if asbool(config.get_settings().get("rates.fake", False)):
        config.add_route("fake_rates", "/fake/rates.json")
        config.add_view(fake_rates, route_name="fake_rates", renderer="json", request_method="GET")
