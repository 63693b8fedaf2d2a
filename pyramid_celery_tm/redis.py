"""The Redis of the application, as the setting ``redis.url`` names it.

Not the broker's connections, which are Celery's own: this one is for what an application itself keeps in Redis.
"""

from __future__ import annotations

import os

from kombu.utils.url import maybe_sanitize_url
from pyramid.registry import Registry
from pyramid.request import Request
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from .exceptions import SettingMissing, SettingsError

SETTING = "redis.url"
EXAMPLE = f"{SETTING} = redis://localhost:6379/3"
#: How long a command waits for Redis, unless the URL says otherwise (``?socket_timeout=30``).
SECONDS = 5


def get_redis(request_or_registry: Request | Registry) -> Redis:
    """Return the client for the setting ``redis.url``: one per registry and process, with a pool of connections.

    Answers are bytes, as Redis keeps them: ``redis.get("rate")`` is ``b"7.1"``. A command that Redis does not answer
    fails after 5 seconds and one more attempt; options of the URL change that, as does ``?socket_timeout=30``.

    :param request_or_registry: a request, a task's dummy request among them, or the registry of the application.
    :raises pyramid_celery_tm.exceptions.SettingMissing: ``redis.url`` is not set.
    :raises pyramid_celery_tm.exceptions.SettingsError: ``redis.url`` is no URL of a Redis.
    :raises redis.exceptions.RedisError: by the commands of the client; this call itself opens no connection.
    """
    registry = getattr(request_or_registry, "registry", request_or_registry)
    url = (registry.settings or {}).get(SETTING)
    if not url:
        raise SettingMissing(f"{SETTING} is not set: add it to the application's section, as in {EXAMPLE!r}")
    # The process is part of the key: a forked child that used its parent's client would read its parent's answers.
    # setdefault(), for of two threads that come first together one has to win.
    key = (__name__, os.getpid(), url)
    client: Redis = registry.get(key) or registry.setdefault(key, _open(url))
    return client


def _open(url: str) -> Redis:
    # One retry replaces a pooled connection that Redis has closed meanwhile. The client's own ten would make a request
    # wait for a minute where Redis hangs.
    retry = Retry(NoBackoff(), retries=1)
    try:
        return Redis.from_url(url, socket_connect_timeout=SECONDS, socket_timeout=SECONDS, retry=retry)
    except ValueError as error:
        shown = maybe_sanitize_url(url)
        raise SettingsError(SETTING, [f"{shown!r} is no URL of a Redis: {error} An example: {EXAMPLE}"]) from None
