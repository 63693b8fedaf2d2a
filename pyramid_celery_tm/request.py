"""The request that a task is given: made, opened, closed.

It is a dummy: no browser sent it. But it is made as the application makes its own, by its request factory and with its
request methods and properties, it is the current request of its thread while the task runs, and its finished callbacks
run at the end. What it lacks is a transaction: :mod:`pyramid_celery_tm.task` begins one, or the task itself does.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from pyramid.events import NewRequest
from pyramid.interfaces import IRequestFactory
from pyramid.registry import Registry
from pyramid.request import Request, apply_request_extensions
from pyramid.threadlocal import RequestContext
from sqlalchemy.orm import Session, scoped_session
from transaction import TransactionManager

from .exceptions import SiteUrlMissing

logger = logging.getLogger(__name__)

_ANSWERED = "pyramid_celery_tm.answered"

SITE_URL_SETTINGS = ("site_url", "websauna.site_url")


def site_url(registry: Registry) -> str | None:
    """The address under which the outside reaches the application.

    :param registry: the application's registry; its setting ``site_url`` (or Websauna's ``websauna.site_url``) is read.
    :returns: scheme, host, perhaps port and path, without a slash at the end; ``None`` where the setting is not there.
    :raises ValueError: the setting is not such an address.
    """
    for name in SITE_URL_SETTINGS:
        url: str = ((registry.settings or {}).get(name) or "").strip()
        if url:
            parts = urlsplit(url)
            if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
                raise ValueError(f"{name} = {url}: not the address of a site, for example https://www.example.com")
            return url.rstrip("/")
    return None


@contextmanager
def open_request(registry: Registry) -> Iterator[Request]:
    """A dummy request of the application, current for this thread until the block ends.

    ``request.tm`` is a fresh transaction manager in explicit mode in which nothing was begun, and so a
    ``request.dbsession`` made the way the Pyramid cookiecutter makes it is a session of this request alone.

    :param registry: the registry of the application.
    :returns: a context manager that gives the request.
    """
    request = _make_request(registry)
    context = RequestContext(request)
    context.begin()
    try:
        apply_request_extensions(request)
        yield request
    finally:
        try:
            _finish(request)
        finally:
            context.end()


def note_answer(event: NewRequest) -> None:
    """Note when a web request has its response: its transaction is over then. A subscriber.

    Being the first response callback of the request it runs before those of the application.
    """
    event.request.add_response_callback(_answered)


def _answered(request: Request, response: object) -> None:
    request.environ[_ANSWERED] = True


def is_answered(request: Any) -> bool:
    """Whether a request has its response, and its work is saved."""
    return _ANSWERED in getattr(request, "environ", ())


def sessions_of(request: Any) -> list[Session]:
    """The SQLAlchemy sessions that a request has made so far, under whatever name (``dbsession``, as a rule)."""
    found = [_unscoped(value) for value in vars(request).values()]
    return [value for value in found if isinstance(value, Session)]


def _unscoped(value: object) -> object:
    return value() if isinstance(value, scoped_session) and value.registry.has() else value


def _make_request(registry: Registry) -> Request:
    factory = registry.queryUtility(IRequestFactory, default=Request)
    url = site_url(registry)
    if url is None:
        request = factory.blank("/")
        request.__class__ = _without_site(type(request))  # type: ignore[arg-type]
    else:
        request = factory.blank("/", base_url=url)
    request.registry = registry
    # Both, for pyramid_tm reads the environment (its ``tm`` is an ordinary request method), and without pyramid_tm
    # nobody else would set the attribute.
    request.environ["tm.manager"] = request.tm = TransactionManager(explicit=True)
    return request


def _finish(request: Request) -> None:
    try:
        if request.finished_callbacks:
            request._process_finished_callbacks()  # noqa: SLF001 - what pyramid.scripting calls, too
    except Exception:
        # The transaction has committed, or not, by now; what a callback does cannot change what became of the task.
        logger.exception("a finished callback of a task failed")
    finally:
        # zope.sqlalchemy closes a session that took part in a transaction, unless it was registered with
        # keep_session=True: then an aborted one would keep its connection, and its locks, until garbage collection.
        for session in sessions_of(request):
            session.close()


class _WithoutSite:
    """Mixed into the request's class where no ``site_url`` is set: better no URL than one of http://localhost."""

    @property
    def host_url(self) -> Any:
        raise SiteUrlMissing(
            "a task cannot know the address of the site: set site_url in the application's section of the INI file, "
            "for example site_url = https://www.example.com"
        )

    host = host_url

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of a task at {id(self):#x}>"

    __str__ = __repr__


@cache
def _without_site(cls: type) -> type:
    return type(cls.__name__, (_WithoutSite, cls), {})
