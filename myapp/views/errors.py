"""The pages for what went wrong. Their templates ask nothing of the database: it may be what is broken."""

from __future__ import annotations

import logging
from typing import Any

from pyramid.exceptions import BadCSRFOrigin, BadCSRFToken
from pyramid.request import Request
from pyramid.view import exception_view_config
from pyramid_retry import is_last_attempt
from transaction.interfaces import ITransaction, NoTransaction

logger = logging.getLogger(__name__)


@exception_view_config(BadCSRFToken, renderer="myapp:templates/400.jinja2")
@exception_view_config(BadCSRFOrigin, renderer="myapp:templates/400.jinja2")
def form_refused(request: Request) -> dict[str, Any]:
    """Answer a form that did not come from a page of ours, or too late."""
    request.response.status_int = 400
    return {}


@exception_view_config(Exception, renderer="myapp:templates/500.jinja2")
def failed(error: Exception, request: Request) -> dict[str, Any]:
    """Log an error that nobody expected, and tell the visitor no more than that there was one."""
    if not _will_be_retried(request, error):
        logger.error("%s %s failed", request.method, request.path, exc_info=error)
    request.response.status_int = 500
    return {}


def _will_be_retried(request: Request, error: Exception) -> bool:
    # A conflict is no error as long as pyramid_retry runs the request again; this page is then thrown away. The mark
    # by which it knows one is put on the error only after this view, by pyramid_tm, which asks the transaction.
    transaction = open_transaction(request)
    return not is_last_attempt(request) and transaction is not None and transaction.isRetryableError(error)


def open_transaction(request: Request) -> ITransaction | None:
    """:return: the transaction of a request; None when it is over, as it is for an error of an eager task."""
    try:
        return request.tm.get()
    except NoTransaction:
        return None
