"""Starts the application of an INI file for a command: a worker, beat, a shell.

The web server starts applications through the same file, but needs neither Celery's configuration to be complete nor a
level of logging from a command line. Web code has no use for this module.
"""

from __future__ import annotations

import configparser
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError
from typing import Any

import click
import plaster
from pyramid.config import global_registries
from pyramid.exceptions import ConfigurationExecutionError
from pyramid.paster import get_app
from pyramid.registry import Registry

from . import command_logging, schedule_check
from .app import celery_app, configure
from .exceptions import BadArgument, NotConfigured, SettingsError
from .ini import read_sections

#: The subcommands of Celery that work on files and processes, and need no application.
WITHOUT_APPLICATION = frozenset({"logtool", "multi", "upgrade"})

#: What a command reports in one line, or one per fault; anything else is the application's own, with its traceback.
REPORTED = (BadArgument, NotConfigured, SettingsError)

MISSING_INI = "--ini is missing: name the INI file of the Pyramid application, for example --ini production.ini"


def start(ini: str, variables: Mapping[str, str] | None = None, loglevel: int | None = None) -> Registry:
    """Load the application of an INI file, and see to it that Celery is configured with it.

    The application's ``main`` need not call ``config.configure_celery``. If it does, that holds; unless variables were
    given, for it cannot know of them.

    :param ini: path or plaster URI of the file; ``file.ini#name`` takes ``[app:name]``.
    :param variables: variables for the file.
    :param loglevel: a level of :mod:`logging` that wins over the file's; ``None`` leaves it.
    :returns: the application's registry.
    :raises NotConfigured: what the file names is no Pyramid application.
    :raises SettingsError: there is no such file, or it has faults; all that were found.
    :raises Exception: whatever the application's own code raises.
    """
    variables = dict(variables or {})
    if "celery" not in read_sections(ini, variables):
        raise SettingsError(ini, ["[celery]: the section is missing; it needs at least broker_url"])
    loader = plaster.get_loader(ini, protocols=["wsgi"])
    _check_application(loader, ini, variables)
    command_logging.set_up(loader, ini, variables, loglevel)
    registry = _load(ini, variables)
    if variables or celery_app.conf.get("PYRAMID_REGISTRY") is not registry:
        configure(registry, ini, variables)
    schedule_check.connect()
    return registry


def parse_variables(pairs: str | None) -> dict[str, str]:
    """The variables in ``name=value,name=value``; a value may contain ``=``.

    :raises BadArgument: something between the commas is no pair.
    """
    variables = {}
    for pair in pairs.split(",") if pairs else ():
        name, equals, value = pair.partition("=")
        if not equals or not name.strip():
            raise BadArgument(f"--ini-var {pairs}: {pair!r} is not of the form name=value; commas separate the pairs")
        variables[name.strip()] = value
    return variables


def start_from_options(options: Mapping[str, Any]) -> None:
    """Start the application that ``--ini`` names on Celery's own command line; a fault ends the process.

    Harmless where ``ws-celery`` started it already, and for the subcommands that need no application.

    :param options: Celery's preload options: ``ini`` and ``ini_var``.
    """
    ini, variables = options.get("ini"), options.get("ini_var")
    if ini is None and (_needs_none() or celery_app.conf.get("PYRAMID_REGISTRY") is not None):
        return
    try:
        if ini is None:
            raise NotConfigured(MISSING_INI)
        start(ini, parse_variables(variables))
    except REPORTED as error:
        sys.exit(f"{error}")


def _needs_none() -> bool:
    context = click.get_current_context(silent=True)
    return context is not None and not WITHOUT_APPLICATION.isdisjoint(context.command_path.split())


def _check_application(loader: Any, ini: str, variables: Mapping[str, str]) -> None:
    # Reads the section and imports what it names, but calls nothing of it yet. So what is caught is the file's fault;
    # what an import raises is not caught.
    try:
        loader.get_wsgi_app_settings(None, dict(variables))
    except (configparser.Error, PackageNotFoundError) as error:
        raise SettingsError(ini, [error]) from error
    except LookupError as error:
        if type(error) is not LookupError:
            raise
        raise SettingsError(ini, [str(error).splitlines()[0]]) from error


def _load(ini: str, variables: Mapping[str, str]) -> Registry:
    try:
        get_app(ini, options=dict(variables))
    except ConfigurationExecutionError as error:
        if isinstance(error.evalue, SettingsError):
            raise error.evalue from error
        raise
    # As pyramid.scripting does: a pipeline or a middleware may hide the registry of the application in it.
    registry: Registry | None = global_registries.last
    if registry is None:
        raise NotConfigured(f"{ini}: what it loads is no Pyramid application")
    return registry
