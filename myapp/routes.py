"""The addresses of the application."""

from __future__ import annotations

from pyramid.config import Configurator

# Nine digits always fit the column; a longer number would be an error of the database where "not found" is meant.
DELIVERY = r"/deliveries/{delivery_id:\d{1,9}}"


def includeme(config: Configurator) -> None:
    """Add the routes."""
    config.add_static_view("static", "static", cache_max_age=3600)
    config.add_route("home", "/")
    config.add_route("deliveries", "/deliveries")
    config.add_route("close_reviews", "/deliveries/close-reviews")
    config.add_route("delivery", DELIVERY)
    config.add_route("complete_delivery", f"{DELIVERY}/complete")
    config.add_route("complete_and_fail", f"{DELIVERY}/complete-and-fail")
    config.add_route("review_public", "/review/{delivery_uuid:[0-9a-f]{32}}")
    config.add_route("rates", "/rates")
    config.add_route("backups", "/backups")
