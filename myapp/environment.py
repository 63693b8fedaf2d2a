"""Secrets come from the environment, so that no file in a repository or a backup holds them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

SECRETS = {
    "sqlalchemy.url": "MYAPP_SQLALCHEMY_URL",
    "redis.url": "MYAPP_REDIS_URL",
    "sms.key": "MYAPP_SMS_KEY",
}
"""The settings that may hold a secret, and the variable that overrides each."""


def with_secrets(settings: Mapping[str, Any], environ: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """Put what the environment knows over what the INI file says.

    :param settings: the section ``[app:main]``.
    :param environ: the variables of the process.
    :return: a copy of the settings, in which each variable of :data:`SECRETS` that is set has won.
    """
    given = {setting: environ[variable] for setting, variable in SECRETS.items() if environ.get(variable)}
    return {**settings, **given}
