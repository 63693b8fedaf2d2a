"""Celery's settings: their new and old names in any case, and their types, all taken from Celery's own table."""

from __future__ import annotations

import math

from celery.app.defaults import NAMESPACES, Option, flatten

from .faults import did_you_mean
from .values import (
    ADMINS,
    ANYTHING,
    BOOLEAN,
    BOOLEAN_OR_OBJECT,
    BYTES,
    CONCURRENCY,
    DELIVERY_MODE,
    INTEGER,
    JSON_OBJECT,
    NAME_TUPLE,
    NAMES,
    NUMBER,
    NUMBER_OR_INF,
    OBJECT_OR_NAME,
    PRIORITY,
    STRING,
    ZONE,
    Type,
)

OPTIONS: dict[str, Option] = dict(flatten(NAMESPACES))
#: Old name, in lower case, to new name. Most old names are the new one in capitals and need no entry.
OLD_NAMES: dict[str, str] = {old.format(new): new for new, option in OPTIONS.items() for old in option.old}

TYPES = {
    "string": STRING,
    "str": STRING,
    "bytes": BYTES,
    "bool": BOOLEAN,
    "int": INTEGER,
    "float": NUMBER,
    "list": NAMES,
    "tuple": NAME_TUPLE,
    "dict": JSON_OBJECT,
    "any": ANYTHING,
}

#: Where Celery's table is wrong, or too wide for a check.
CORRECTIONS = {
    # Known to pyramid_celery, forgotten by Celery.
    "admins": ADMINS,
    # A bool in the table; Celery's manual documents the object of ssl options too.
    "broker_use_ssl": BOOLEAN_OR_OBJECT,
    # Strings in the table, which fail as such when the first message is published.
    "task_default_delivery_mode": DELIVERY_MODE,
    "task_default_priority": PRIORITY,
    "task_routes": OBJECT_OR_NAME,
    "timezone": ZONE,
    # "any" in the table; a worker logs what it cannot read and starts as many processes as there are processors.
    "worker_concurrency": CONCURRENCY,
}


def setting_named(option: str) -> str | None:
    """The new, lower-case name of the setting that an option means, or ``None`` if Celery has no such setting.

    :param option: an old or new name in any case.
    """
    name = option.lower()
    if name in OPTIONS or name in CORRECTIONS:
        return name
    return OLD_NAMES.get(name)


def type_of(setting: str) -> Type:
    """The type of a setting.

    :param setting: the new name.
    """
    if setting in CORRECTIONS:
        return CORRECTIONS[setting]
    option = OPTIONS[setting]
    if isinstance(option.default, float):  # broker_heartbeat_checkrate: an int in the table, 3.0 by default
        return NUMBER_OR_INF if math.isinf(option.default) else NUMBER
    # Of one option the table names the class instead (type=int).
    return TYPES.get(getattr(option.type, "__name__", option.type), ANYTHING)


def near_setting(option: str) -> str:
    """The phrase that suggests a setting for a misspelt one, in the case that was used, or nothing."""
    # CELERY_BROKER_URL is Celery's variable of the environment, and Django's spelling; not one of the table.
    stem = option.lower().removeprefix("celery_")
    names = [stem] if setting_named(stem) else [*OPTIONS, *CORRECTIONS, *OLD_NAMES]
    case = str.upper if option.isupper() else str.lower
    return did_you_mean(case(option), map(case, names))
