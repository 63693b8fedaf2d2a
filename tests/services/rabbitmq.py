"""A RabbitMQ of the tests' own, for which no wheel exists: Debian's package ``rabbitmq-server`` or none."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from kombu import Connection
from kombu.exceptions import OperationalError

from tests.services.base import Service, Unavailable, free_port

# Debian's command on the PATH insists on root or the user rabbitmq; the program behind it runs as anybody.
BEHIND = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")


class RabbitMQ(Service):
    """One node with its own files, its own name service (epmd) and ports, beside any node of the machine."""

    name = "rabbitmq"
    start_timeout = 90.0

    def __init__(self, port: int | None = None) -> None:
        self.port = port or free_port()
        self.epmd_port = free_port()
        self.distribution_port = free_port()
        self.binary, self.epmd = find_binaries()
        super().__init__()

    def command(self) -> list[str]:
        # epmd stays in the foreground and in our process group: one started by the node would outlive it as a daemon
        names = f"{shlex.quote(self.epmd)} -address 127.0.0.1 -port {self.epmd_port} &"
        return ["/bin/sh", "-c", f"{names} exec {shlex.quote(self.binary)}"]

    def environment(self) -> Mapping[str, str]:
        own = {
            "HOME": str(self.directory),  # of the Erlang cookie
            "ERL_EPMD_PORT": str(self.epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"test-{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self.distribution_port),
            "RABBITMQ_MNESIA_BASE": str(self.directory / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self.directory),
            "RABBITMQ_CONF_ENV_FILE": str(self.directory / "no-environment"),
            "RABBITMQ_CONFIG_FILE": str(self.directory / "no-configuration"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(self.directory / "no-advanced-configuration"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.directory / "no-plugins"),
        }
        return {**os.environ, **own}

    @cached_property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}//"

    def is_ready(self) -> bool:
        with Connection(self.url, connect_timeout=5) as connection:
            try:
                connection.ensure_connection(max_retries=1, timeout=5)
            except (OperationalError, OSError):
                return False
            return True


def find_binaries() -> tuple[str, str]:
    """The programs ``rabbitmq-server`` and ``epmd``.

    :raise Unavailable: there are none.
    """
    binary = str(BEHIND) if BEHIND.exists() else shutil.which("rabbitmq-server", path=search_path())
    epmd = shutil.which("epmd", path=search_path())
    if binary is None or epmd is None:
        raise Unavailable("no rabbitmq-server (Debian's package of that name) and no TEST_RABBITMQ_URL")
    return binary, epmd


def search_path() -> str:
    """The PATH, and where Debian puts servers, which is not on the PATH of an ordinary user."""
    return os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
