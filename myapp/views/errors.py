"""The pages for what went wrong. Their templates ask nothing of the database: it may be what is broken."""

from __future__ import annotations

import logging
from typing import Any

from pyramid.exceptions import BadCSRFOrigin, BadCSRFToken
from pyramid.request import Request
from pyramid.view import exception_view_config

logger = logging.getLogger(__name__)


@exception_view_config(BadCSRFToken, renderer="myapp:templates/400.jinja2")
@exception_view_config(BadCSRFOrigin, renderer="myapp:templates/400.jinja2")
def form_refused(request: Request) -> dict[str, Any]:
    """Answer a form that did not come from a page of ours, or too late."""
    request.response.status_int = 400
    return {}


# last_retry_attempt: a conflict is no error as long as pyramid_retry will run the request again.
@exception_view_config(Exception, last_retry_attempt=True, renderer="myapp:templates/500.jinja2")
def failed(error: Exception, request: Request) -> dict[str, Any]:
    """Log an error that nobody expected, and tell the visitor no more than that there was one."""
    logger.error("%s %s failed", request.method, request.path, exc_info=error)
    request.response.status_int = 500
    return {}
