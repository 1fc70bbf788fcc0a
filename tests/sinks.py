"""Whoever alerts are told to: a small webhook and a small mail server on this machine."""

from __future__ import annotations

import email
import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeVar

Server = TypeVar("Server", bound=socketserver.BaseServer)


class Slack(ThreadingHTTPServer):
    """Keeps what is posted to it; answers `status`."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Post)
        self.status = 200
        self.location: str | None = None
        self.paths: list[str] = []
        self.bodies: list[dict[str, Any]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/services/s3cret"

    def texts(self) -> list[str]:
        """What has been posted since the last look, whatever was answered."""
        texts, self.bodies = [str(body["text"]) for body in self.bodies], []
        return texts


class _Post(BaseHTTPRequestHandler):
    server: Slack

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.paths.append(self.path)
        self.server.bodies.append(json.loads(body))
        self.send_response(self.server.status)
        if self.server.location:
            self.send_header("Location", self.server.location)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        """Nothing on the test's output."""


class MailServer(socketserver.ThreadingTCPServer):
    """Takes mail as SMTP has it, without encryption; refuses every recipient of `refused`."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Smtp)
        self.port = int(self.server_address[1])
        self.refused: set[str] = set()
        self.recipients: list[str] = []
        self.mails: list[Message] = []


class _Smtp(socketserver.StreamRequestHandler):
    server: MailServer

    def handle(self) -> None:
        self._say("220 here")
        while line := self.rfile.readline().decode().strip():
            verb = line.upper()
            if verb.startswith("RCPT TO:") and line[8:].strip("<>") in self.server.refused:
                self._say(f"550 no such {line[8:]}")
            elif verb.startswith("RCPT TO:"):
                self.server.recipients.append(line[8:].strip("<>"))
                self._say("250 yes")
            elif verb == "DATA":
                self._say("354 go on")
                lines = list(iter(self.rfile.readline, b".\r\n"))
                self.server.mails.append(email.message_from_bytes(b"".join(lines)))
                self._say("250 taken")
            elif verb == "QUIT":
                self._say("221 bye")
                return
            else:
                self._say("250 yes")

    def _say(self, line: str) -> None:
        self.wfile.write(f"{line}\r\n".encode())


@contextmanager
def slack() -> Iterator[Slack]:
    """A webhook that listens."""
    with _served(Slack()) as server:
        yield server


@contextmanager
def mail_server() -> Iterator[MailServer]:
    """A mail server that listens."""
    with _served(MailServer()) as server:
        yield server


@contextmanager
def _served(server: Server) -> Iterator[Server]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()
