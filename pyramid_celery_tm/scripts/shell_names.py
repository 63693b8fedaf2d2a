"""The names that ``ws-shell`` offers."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any

import plaster
import transaction
from pyramid.path import DottedNameResolver
from pyramid.registry import Registry
from pyramid.request import Request
from pyramid.util import make_contextmanager
from sqlalchemy.orm import Mapper

from ..app import celery_app
from ..exceptions import SettingMissing
from ..inspector import queue_length
from ..redis import get_redis
from ..request import open_request
from .old_inspect import make_inspect, old_module

#: What is said of the names; models and those of the section [pshell] tell their module.
SUMMARIES = {
    "celery_app": "the Celery app, configured",
    "dbsession": "SQLAlchemy session of the request",
    "inspect": "inspect() asks the workers: .active(), .scheduled(), ...",
    "now": "now(), in UTC",
    "queue_length": "queue_length(name): how many messages wait",
    "redis": "client of the setting redis.url",
    "registry": "the application's registry",
    "request": "a request of the application",
    "settings": "the application's settings",
    "tm": "the transaction manager of the request",
    "transaction": "transaction.commit() saves and sends; what is not committed is lost",
}


@contextmanager
def shell_names(registry: Registry, pshell: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """The names for a shell or a script, with a request that is current until the block ends.

    What is not committed by then is aborted.

    :param registry: the application's registry.
    :param pshell: the INI file's section ``[pshell]``, as Pyramid's own shell knows it: names with what they stand
        for, and ``setup``, a function that is given all names and may change them.
    """
    inspect = make_inspect(celery_app)
    with open_request(registry) as request, old_module(inspect), _thread_transaction(request):
        names = {
            **mapped_classes(),
            "request": request,
            "registry": registry,
            "settings": registry.settings,
            "transaction": transaction,
            "tm": request.tm,
            "celery_app": celery_app,
            "inspect": inspect,
            "queue_length": queue_length,
            "now": now,
            **_where_possible(request),
        }
        with _pshell(names, pshell):
            yield names


def now() -> datetime:
    """The time, in UTC and aware of it."""
    return datetime.now(UTC)


def mapped_classes() -> dict[str, type]:
    """The SQLAlchemy models of all modules that are imported, by name; of two that share one, the first by module.

    Not those of Celery's database backend, which is imported whenever Celery is.
    """
    classes = {
        value
        for name, module in list(sys.modules.items())
        if not name.startswith("celery.")
        for value in list(getattr(module, "__dict__", {}).values())  # not everything in there is a module
        if isinstance(value, type) and isinstance(vars(value).get("__mapper__"), Mapper)
    }
    ordered = sorted(classes, key=lambda cls: (cls.__module__, cls.__qualname__), reverse=True)
    return {cls.__name__: cls for cls in ordered}


def describe(names: Mapping[str, Any]) -> str:
    """The list of names, for the user, one per line."""
    return "\n".join(f"  {name:<14} {_summary(name, value)}" for name, value in sorted(names.items()))


def read_pshell(ini: str, variables: Mapping[str, str]) -> dict[str, str]:
    """The section ``[pshell]`` of an INI file; empty where there is none."""
    return dict(plaster.get_settings(ini, "pshell", dict(variables)))


@contextmanager
def _thread_transaction(request: Request) -> Iterator[None]:
    # At a prompt everybody types transaction.commit(), and "import transaction" gives the module in any case. So the
    # request takes part in the thread's transaction, which begins by itself, and not in one of its own.
    request.environ["tm.manager"] = request.tm = transaction.manager
    try:
        yield
    finally:
        transaction.abort()


def _where_possible(request: Request) -> dict[str, Any]:
    names = {}
    if hasattr(request, "dbsession"):
        names["dbsession"] = request.dbsession
    with suppress(SettingMissing):
        names["redis"] = get_redis(request)
    return names


@contextmanager
def _pshell(names: dict[str, Any], pshell: Mapping[str, str]) -> Iterator[None]:
    resolver = DottedNameResolver(None)
    given = {name: resolver.maybe_resolve(value) for name, value in pshell.items() if name != "default_shell"}
    setup = given.pop("setup", None)
    names.update(given)
    with make_contextmanager(setup)(names):
        yield


def _summary(name: str, value: Any) -> str:
    return SUMMARIES.get(name) or getattr(value, "__module__", None) or type(value).__name__
