"""pyramid_celery, imported here and nowhere else.

pyramid_celery 4.0.0, its newest release, names ``configparser.SafeConfigParser`` in the body of a class. Python 3.12
removed that name, so that no later Python can import the package. What the class needs is there under the name
``ConfigParser``: the old name stands in for it for the length of the import and is taken away again, so that nobody
else comes to rely on it.

Besides, importing pyramid_celery connects a handler of ``--ini`` that ends the process with a traceback and status 255
for a missing file, and reads the section ``[celery]`` without types or ``%(here)s``. Ours takes its place (see
:mod:`pyramid_celery_tm.preload`).
"""

from __future__ import annotations

import configparser

from celery import Celery
from celery.signals import user_preload_options


def _import_celery_app() -> Celery:
    stand_in = not hasattr(configparser, "SafeConfigParser")
    if stand_in:
        configparser.SafeConfigParser = configparser.ConfigParser  # type: ignore[misc,assignment]
    try:
        import pyramid_celery  # noqa: PLC0415 - the name has to stand in first
    finally:
        if stand_in:
            del configparser.SafeConfigParser
    user_preload_options.disconnect(pyramid_celery.on_preload_parsed)
    app: Celery = pyramid_celery.celery_app
    return app


celery_app = _import_celery_app()
