"""Deliveries, and the messages that follow them: the application that shows pyramid_celery_tm at work."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pyramid.config import Configurator
from pyramid.router import Router

from .environment import with_secrets
from .models import TaskRecord


def main(global_config: Mapping[str, str], **settings: Any) -> Router:
    """Make the WSGI application.

    :param global_config: what the INI file says in ``[DEFAULT]``, with ``here`` and ``__file__``.
    :param settings: the section ``[app:main]``.
    :return: the application; web server, worker, beat and shell are all made from it.
    """
    with Configurator(settings=with_secrets(settings)) as config:
        config.include("pyramid_jinja2")
        config.include(".models")
        config.include(".security")
        config.include(".sms")
        config.include("pyramid_celery_tm")
        config.configure_celery(global_config)
        config.configure_ledger(TaskRecord, config.registry["dbengine"])
        config.include(".routes")
        config.include(".fake_rates")
        config.scan()
    return config.make_wsgi_app()
