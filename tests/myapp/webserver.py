"""A real web server in a thread: notes what it is sent, and answers what a test wants."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Received:
    """A request that arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Answer:
    """What is answered; the body comes in pieces, so that a test can have it drip."""

    status: int = 200
    body: Iterable[bytes] = (b"{}",)
    headers: dict[str, str] = field(default_factory=dict)


class WebServer:
    """Serves on a free port of 127.0.0.1 until ``close``.

    ``answers`` are given one after the other; when there are none left, and before there are any, it is ``answer``.
    """

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.answers: list[Answer] = []
        self.answer = Answer()
        self.closing = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), name="web-server")
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def drip(self) -> Iterable[bytes]:
        """A body of single bytes that does not end before the server does."""
        while not self.closing.wait(0.02):
            yield b" "

    def close(self) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _handler(server: WebServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            server.received.append(Received(self.command, self.path, dict(self.headers), body))
            answer = server.answers.pop(0) if server.answers else server.answer
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self._write(answer.body)

        def _write(self, body: Iterable[bytes]) -> None:
            for piece in body:
                try:
                    self.wfile.write(piece)
                    self.wfile.flush()
                except OSError:  # the client had enough
                    return

        do_GET = do_POST = _serve

        def log_message(self, *args: Any) -> None:
            """Say nothing."""

    return Handler
