"""What every request and response is held to: forms prove where they come from, pages load nothing from elsewhere."""

from __future__ import annotations

from pyramid.config import Configurator
from pyramid.csrf import CookieCSRFStoragePolicy
from pyramid.events import NewResponse
from pyramid.settings import asbool

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    # The address of a review page is its key: it must not travel to other sites. "no-referrer" would be stricter,
    # but it makes browsers send "Origin: null" with a form, which the check of the origin must refuse.
    "Referrer-Policy": "same-origin",
}


def includeme(config: Configurator) -> None:
    """Check the token of each form, and add the headers above to each response.

    The token is kept in a cookie, so there is no session to store. ``csrf.secure = true`` in the settings keeps that
    cookie to HTTPS.
    """
    secure = asbool(config.get_settings().get("csrf.secure", False))
    config.set_csrf_storage_policy(CookieCSRFStoragePolicy(secure=secure, httponly=True, samesite="Lax"))
    config.set_default_csrf_options(require_csrf=True)
    config.add_subscriber(_add_headers, NewResponse)


def _add_headers(event: NewResponse) -> None:
    for name, value in HEADERS.items():
        event.response.headers.setdefault(name, value)
