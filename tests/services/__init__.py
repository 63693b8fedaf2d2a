"""Real servers for the tests, started by the tests and gone with them.

``Valkey``, ``PostgreSQL`` and ``RabbitMQ`` need no pytest::

    with Valkey() as valkey:
        ...valkey.url(3), valkey.freeze(), valkey.thaw(), valkey.stop(), valkey.start()
"""

from __future__ import annotations

from tests.services.base import Service, Unavailable, free_port, wait_until
from tests.services.postgresql import Databases, PostgreSQL
from tests.services.rabbitmq import RabbitMQ
from tests.services.valkey import Valkey

__all__ = ["Databases", "PostgreSQL", "RabbitMQ", "Service", "Unavailable", "Valkey", "free_port", "wait_until"]
