"""A site on a loopback port that answers as a test scripts it, faults included, and remembers who asked."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal

import pytest


@dataclass(frozen=True)
class Answer:
    """One scripted answer."""

    status: int = 200
    body: bytes = b"<!doctype html><html><head><meta property='og:url'></head><body>fine</body></html>"
    headers: dict[str, str] = field(default_factory=dict)
    fault: Literal["reset", "truncate", "hang", "drip"] | None = None
    delay_seconds: float = 0.0


@dataclass(frozen=True)
class Asked:
    """One request as the site saw it."""

    path: str
    headers: dict[str, str]
    at: float
    client_port: int


class FakeSite:
    """Answers 200 to everything but robots.txt, which it does not have, unless told otherwise."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self._scripts: defaultdict[str, list[Answer]] = defaultdict(list)
        self._lock = threading.Lock()
        self._closing = threading.Event()
        site = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                site._serve(self)

            def log_message(self, format: str, *args: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            def handle_error(self, request: object, client_address: object) -> None:
                """A connection that a fault closed is no news."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        # Closing must not wait for handlers that hang on purpose.
        self._server.block_on_close = False
        self.host = f"127.0.0.1:{self._server.server_address[1]}"
        self.url = f"http://{self.host}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )
        self._thread.start()

    def script(self, path: str, *answers: Answer) -> None:
        """Answer `path` with these in turn; the last one is repeated."""
        self._scripts[path] = list(answers)

    def paths(self, *, robots: bool = False) -> list[str]:
        """What was asked for, in order."""
        return [asked.path for asked in self.asked if robots or asked.path != "/robots.txt"]

    def close(self) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        with self._lock:
            self.asked.append(
                Asked(handler.path, dict(handler.headers), time.monotonic(), handler.client_address[1])
            )
            script = self._scripts.get(handler.path)
            if script:
                answer = script.pop(0) if len(script) > 1 else script[0]
            else:
                answer = Answer(404, b"") if handler.path == "/robots.txt" else Answer()
        self._closing.wait(answer.delay_seconds)
        if answer.fault == "reset":
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            handler.connection.close()
            handler.close_connection = True
            return
        if answer.fault == "hang":
            self._closing.wait(30)
            handler.close_connection = True
            return
        try:
            self._write(handler, answer)
        except ConnectionError:
            handler.close_connection = True

    def _write(self, handler: BaseHTTPRequestHandler, answer: Answer) -> None:
        handler.send_response(answer.status)
        for name, value in answer.headers.items():
            handler.send_header(name, value)
        length = len(answer.body) + (100 if answer.fault == "truncate" else 0)
        handler.send_header("Content-Length", "0" if answer.status == 304 else str(length))
        handler.end_headers()
        if answer.status == 304:
            return
        if answer.fault == "drip":
            for byte in answer.body:
                handler.wfile.write(bytes([byte]))
                handler.wfile.flush()
                if self._closing.wait(0.05):
                    break
            return
        handler.wfile.write(answer.body)
        if answer.fault == "truncate":
            handler.close_connection = True


@pytest.fixture
def site() -> Iterator[FakeSite]:
    """A running site; a test module gets the fixture by importing it."""
    opened = FakeSite()
    yield opened
    opened.close()
