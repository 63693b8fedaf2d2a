"""The Celery app, configured from the INI file of a Pyramid application.

The app is pyramid_celery's, importable before anything is configured: modules decorate their tasks with it.
``config.configure_celery(ini)`` reads the file; what it says becomes Celery's configuration together with the
application's own.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from celery import Celery, Task, signals
from celery.loaders.app import AppLoader
from kombu import Exchange, Queue, pools
from pyramid.config import Configurator
from pyramid.registry import Registry
from sqlalchemy import Engine

from . import aftermath, relay
from .chords import BACKENDS
from .connections import discard_inherited
from .exceptions import SettingsError
from .ini import read_sections
from .ledger import KEY, Ledger, LedgerMixin, read_policy
from .maps import replace_map_tasks
from .producers import forget_connection
from .pyramid_celery_import import celery_app
from .request import site_url
from .settings import celery_settings

__all__ = ["celery_app", "configure", "configure_celery"]

logger = logging.getLogger(__name__)

#: What beat runs by where there is a ledger, unless the setting says otherwise.
LEDGER_SCHEDULER = "pyramid_celery_tm.beat:LedgerScheduler"

#: Beside the default queue: long tasks, and those that beat starts.
HEAVY, BACKGROUND = "heavy", "background"


class Loader(AppLoader):
    """Celery's loader, with the result backends of :mod:`pyramid_celery_tm.chords`."""

    override_backends = BACKENDS


def configure_celery(config: Configurator, ini: str | Mapping[str, str]) -> None:
    """The directive ``config.configure_celery``: configure Celery with this application and an INI file.

    The file is read at once; Celery is configured when the application's own configuration is committed.

    :param ini: path or plaster URI of the file; or the whole ``global_config`` that ``main`` was given, whose other
        keys are then variables for the file (``pserve development.ini name=value``).
    :raises pyramid_celery_tm.exceptions.SettingsError: all faults of the file at once.
    """
    uri, variables = _location(ini)
    values = read_settings(uri, variables)
    introspectable = config.introspectable("celery", uri, uri, "celery")
    introspectable.update(values)
    config.action(
        "pyramid_celery_tm.configure_celery",
        apply_settings,
        (celery_app, config.registry, uri, values),
        introspectables=(introspectable,),
    )


def configure_ledger(config: Configurator, model: type[LedgerMixin], engine: Engine) -> None:
    """The directive ``config.configure_ledger``: keep calls in a table, so that none is lost and none happens twice.

    :param model: the application's model, a child of :class:`pyramid_celery_tm.LedgerMixin`.
    :param engine: the engine of the database in which the table is, and on which the sessions of requests are.
    :raises pyramid_celery_tm.exceptions.SettingsError: settings with the prefix ``tasks.`` are at fault, all at once.
    """
    introspectable = config.introspectable("celery", "ledger", model.__name__, "ledger")
    introspectable.update(model=model, engine=engine)
    # Before configure_celery, whose defaults depend on it.
    config.action(
        "pyramid_celery_tm.configure_ledger",
        _register_ledger,
        (config.registry, model, engine),
        introspectables=(introspectable,),
        order=-1,
    )


def _register_ledger(registry: Registry, model: Any, engine: Engine) -> None:
    policy, faults = read_policy(registry.settings or {})
    if faults:
        raise SettingsError("settings", faults)
    registry[KEY] = Ledger(model.__table__, engine, policy)


def configure(registry: Registry, ini: str, variables: Mapping[str, str] | None = None) -> None:
    """Configure Celery outside of a ``Configurator``, as a command does for an application that did not do so itself.

    :param registry: the application's registry.
    :param ini: path or plaster URI of the INI file.
    :param variables: variables for the file.
    :raises pyramid_celery_tm.exceptions.SettingsError: all faults of the file at once.
    """
    apply_settings(celery_app, registry, ini, read_settings(ini, variables))


def read_settings(ini: str, variables: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Celery's settings in an INI file, typed; warnings are logged.

    :raises pyramid_celery_tm.exceptions.SettingsError: all faults of the file at once.
    """
    settings = celery_settings(read_sections(ini, variables))
    file = ini.partition("?")[0]  # a plaster URI may carry variables behind it, and one of them a password
    if settings.faults:
        raise SettingsError(file, settings.faults)
    for warning in settings.warnings:
        logger.warning("%s: %s", file, warning)
    return settings.values


def apply_settings(app: Celery, registry: Registry, ini: str, values: Mapping[str, Any]) -> None:
    """Give the app a configuration and a Pyramid application in place of what it had."""
    _check(registry, ini, values)
    values = _with_defaults(_with_queues(dict(values)), registry)
    if app.configured and app.conf.get("PYRAMID_SETTINGS") != values:
        _forget(app, values)
    app.loader = Loader(app=app)
    app.config_from_object(values, force=True)
    app.conf.update(PYRAMID_REGISTRY=registry, PYRAMID_INI=ini, PYRAMID_SETTINGS=values)
    # A shared task (``@shared_task``) belongs to the current app, and a thread of a web server that never had one takes
    # the default.
    app.set_current()
    app.set_default()
    app.on_after_finalize.connect(replace_map_tasks, dispatch_uid=replace_map_tasks.__qualname__)
    aftermath.connect()
    relay.connect()
    signals.worker_process_init.connect(discard_inherited, dispatch_uid=discard_inherited.__qualname__)


def route_by_kind(name: str, args: Any, kwargs: Any, options: Any, task: Task | None = None, **_: Any) -> Any:
    """Send heavy tasks to the queue ``heavy`` and background tasks to ``background``.

    A Celery router, asked after ``[celeryroute:TASK]``; a queue named in the call or at the task wins over both.
    (NodeConductor: heavy first.)
    """
    if getattr(task, "is_heavy_task", False):
        return {"queue": HEAVY}
    if getattr(task, "is_background", False):
        return {"queue": BACKGROUND}
    return None


def _location(ini: str | Mapping[str, str]) -> tuple[str, dict[str, str]]:
    if isinstance(ini, str):
        return ini, {}
    # The values have been interpolated once, and will be again with the sections that use them.
    variables = {name: value.replace("%", "%%") for name, value in ini.items() if name not in ("__file__", "here")}
    return ini["__file__"], variables


def _check(registry: Registry, ini: str, values: Mapping[str, Any]) -> None:
    faults = []
    try:
        site_url(registry)
    except ValueError as error:
        faults.append(str(error))
    attempts = (registry.settings or {}).get("tasks.attempts", "3")
    if not str(attempts).isdecimal() or int(attempts) < 1:
        faults.append(f"[app:main] tasks.attempts = {attempts}: not a number of attempts; allowed: 1 and above")
    if values.get("task_protocol", 2) != 2:
        faults.append("[celery] task_protocol = 1: messages of Celery 3 are not supported; allowed: 2")
    if KEY not in registry:
        faults += [
            f"[celerybeat:{name}] missed = {entry['missed']}: only beats with a ledger know it;"
            " allowed: leave it out, or call config.configure_ledger"
            for name, entry in (values.get("beat_schedule") or {}).items()
            if "missed" in entry
        ]
    if faults:
        raise SettingsError(ini.partition("?")[0], faults)


def _with_queues(values: dict[str, Any]) -> dict[str, Any]:
    default = values.get("task_default_queue") or "celery"
    quorum = values.get("task_default_queue_type") == "quorum"
    # Celery's delays for quorum queues need a topic exchange. (Settings of their own win: [celery:task_queues].)
    kind, arguments = ("topic", {"x-queue-type": "quorum"}) if quorum else ("direct", None)
    # A stock worker consumes the default queue alone; one without -Q consumes what is declared.
    values.setdefault(
        "task_queues",
        [
            Queue(name, Exchange(name, type=kind), routing_key=name, queue_arguments=arguments)
            for name in dict.fromkeys((default, HEAVY, BACKGROUND))
        ],
    )
    values["task_routes"] = [values.get("task_routes") or {}, route_by_kind]
    # Celery 6 will do so by itself and warns of it at each start until then.
    values.setdefault("broker_connection_retry_on_startup", True)
    return values


def _with_defaults(values: dict[str, Any], registry: Registry) -> dict[str, Any]:
    broker = values.get("broker_url") or "amqp://"
    if isinstance(broker, str) and broker.startswith(("amqp", "pyamqp")):
        # Without it RabbitMQ loses what it was given in the moment before its end, and nobody is told.
        options = values.get("broker_transport_options") or {}
        values["broker_transport_options"] = {"confirm_publish": True, **options}
    if KEY in registry:
        values.setdefault("beat_scheduler", LEDGER_SCHEDULER)
    return values


def _forget(app: Celery, values: Mapping[str, Any]) -> None:
    """Drop what Celery keeps of the old configuration: it offers no way to configure an app anew.

    It happens to tests that load two INI files, and to code that used the app before it was configured. Half a
    configuration would be worse than the private names used here.
    """
    if app.conf.get("PYRAMID_INI") is not None:
        logger.warning("Celery is configured anew")
    forget_connection(app)
    pools.reset()
    for name in ("amqp", "annotations", "control", "events", "loader", "timezone"):
        vars(app).pop(name, None)
    app._pool = None  # noqa: SLF001
    app._backend_cache = None  # noqa: SLF001
    vars(app._local).clear()  # noqa: SLF001
    for task in app._tasks.values():  # noqa: SLF001
        _rebind(task, app.conf, {**dict(app.conf.defaults[-1]), **values})


def _rebind(task: Task, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    # Binding copied these from the configuration wherever the task itself said nothing.
    for attribute, setting in task.from_config:
        if getattr(task, attribute, None) == old.get(setting):
            setattr(type(task), attribute, new.get(setting))
