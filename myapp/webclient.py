"""JSON over HTTP to other services, on the standard library: bounded in time and size, and no redirects.

An answer that is not 2xx is an error. A redirect is one too: following it would carry the key of one service to
another.
"""

from __future__ import annotations

import http.client
import json
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

MAX_BODY = 1_000_000
"""Bytes of an answer that are read at most."""

LOOPBACK = {"127.0.0.1", "::1", "localhost"}


class HttpFault(Exception):
    """A service was not reached, or did not answer as it must; the message says which and why.

    :param message: what went wrong, with the address.
    :param status: the status of the answer, or None if there was none.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


def get_json(url: str, timeout: float) -> Any:
    """Fetch a document.

    :param url: ``http:`` or ``https:``.
    :param timeout: seconds for the whole call.
    :return: the parsed body.
    :raises HttpFault: not reached, not 2xx, too slow, too large, or not JSON.
    """
    body = _call(_request(url, headers={"Accept": "application/json"}), timeout)
    try:
        return json.loads(body)
    except ValueError as error:
        raise HttpFault(f"{url} answered something that is not JSON: {error}") from error


def post_json(url: str, payload: Any, headers: Mapping[str, str], timeout: float) -> None:
    """Send a document; what the answer says beyond "2xx" is not asked.

    :param url: ``http:`` or ``https:``.
    :param payload: what becomes the body.
    :param headers: further headers, such as the key.
    :param timeout: seconds for the whole call.
    :raises HttpFault: not reached, not 2xx, or too slow.
    """
    body = json.dumps(payload).encode()
    every_header = {"Content-Type": "application/json", **headers}
    _call(_request(url, headers=every_header, data=body, method="POST"), timeout)


def _request(url: str, **options: Any) -> urllib.request.Request:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise HttpFault(
            f"{url!r} is not an address of a web service: it must begin with http:// or https:// and a host"
        )
    return urllib.request.Request(url, **options)  # noqa: S310 - urllib would open file: too, which was ruled out above


def _call(request: urllib.request.Request, timeout: float) -> bytes:
    deadline = time.monotonic() + timeout
    try:
        with _opener(request).open(request, timeout=timeout) as response:
            return _read(response, deadline)
    except urllib.error.HTTPError as error:
        with error:
            raise HttpFault(f"{request.full_url} answered {error.code} {error.reason}", error.code) from error
    except (OSError, http.client.HTTPException) as error:
        raise HttpFault(f"{request.full_url} was not reached: {error or type(error).__name__}") from error


def _opener(request: urllib.request.Request) -> urllib.request.OpenerDirector:
    # A proxy of the environment cannot reach this machine's own loopback.
    local = urlsplit(request.full_url).hostname in LOOPBACK
    proxies = urllib.request.ProxyHandler({} if local else None)
    return urllib.request.build_opener(_NoRedirect, proxies)


def _read(response: http.client.HTTPResponse, deadline: float) -> bytes:
    # The timeout of a socket begins anew with each byte; a service that drips would hold a worker for hours.
    body = b""
    while chunk := response.read1(65536):
        body += chunk
        if len(body) > MAX_BODY:
            raise HttpFault(f"{response.url} answered more than {MAX_BODY} bytes")
        if time.monotonic() > deadline:
            raise HttpFault(f"{response.url} did not finish its answer in time")
    return body
