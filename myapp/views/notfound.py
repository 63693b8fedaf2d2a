"""The page for an address that leads nowhere."""

from __future__ import annotations

from typing import Any

from pyramid.request import Request
from pyramid.view import notfound_view_config


@notfound_view_config(renderer="myapp:templates/404.jinja2")
def notfound(request: Request) -> dict[str, Any]:
    """Answer 404."""
    request.response.status_int = 404
    return {}
