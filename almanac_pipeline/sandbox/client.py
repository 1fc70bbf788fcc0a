"""Talks to a running sandbox's control endpoint, and starts one as a process of its own.

Standard library only, so that whoever steers a sandbox does not import one.
"""

from __future__ import annotations

import contextlib
import json
import queue
import subprocess
import sys
import tempfile
import threading
import urllib.error
import urllib.request
from typing import IO, Any, cast

from almanac_pipeline.errors import ConfigurationError
from almanac_pipeline.sandbox.options import SandboxConfig

START_SECONDS = 60.0


class ControlClient:
    """Steers the sandbox at `url`. Every method raises ValueError with the sandbox's words if it refuses."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.tmdb_url = f"{url}/3"
        self.control_url = f"{url}/_sandbox"

    def change(self, **changes: Any) -> dict[str, Any]:
        """Change the world; see `changes` for the names and entries."""
        return cast(dict[str, Any], self._json("POST", "/change", changes))

    def fault(self, fault: str, **details: Any) -> None:
        """Order a fault; see `control.Fault` for the details."""
        self._json("POST", "/faults", {"fault": fault, **details})

    def clear_faults(self) -> None:
        """Forget the faults that have not struck yet."""
        self._json("DELETE", "/faults")

    def report(self) -> dict[str, Any]:
        """What was served since the start or the last reset."""
        return cast(dict[str, Any], self._json("GET", "/report"))

    def reset_report(self) -> None:
        """Start counting anew."""
        self._json("POST", "/reset-report")

    def summary(self) -> dict[str, Any]:
        """Who and how much there is."""
        return cast(dict[str, Any], self._json("GET", "/world"))

    def member(self, name: str) -> dict[str, Any]:
        """All that is true of a member."""
        return cast(dict[str, Any], self._json("GET", f"/world/members/{name}"))

    def members(self) -> list[dict[str, Any]]:
        """All that is true of every member."""
        return self._paged("members")

    def films(self) -> list[dict[str, Any]]:
        """All that is true of every film."""
        return self._paged("films")

    def export(self, name: str, *, crlf: bool = False) -> bytes:
        """A member's data export."""
        return self._request("GET", f"/export/{name}.zip" + ("?crlf=1" if crlf else ""))

    def _paged(self, what: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        while True:
            page = self._json("GET", f"/world/{what}?offset={len(found)}&limit=500")
            found += page[what]
            if len(found) >= page["total"]:
                return found

    def _json(self, method: str, path: str, body: object = None) -> Any:
        return json.loads(self._request(method, path, body))

    def _request(self, method: str, path: str, body: object = None) -> bytes:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self.control_url + path, data, {"content-type": "application/json"}, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return cast(bytes, response.read())
        except urllib.error.HTTPError as error:
            with error:
                raise ValueError(error.read().decode()) from None


class SandboxProcess(ControlClient):
    """A sandbox in a process of its own. It ends with `stop`, or when this process ends in whatever way."""

    def __init__(self, process: subprocess.Popen[str], addresses: dict[str, str]) -> None:
        super().__init__(addresses["url"])
        self.seed_member = addresses["seed_member"]
        self.pid = process.pid
        self._process = process

    def stop(self) -> None:
        """End the sandbox and wait for it. Repeating it does nothing."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()

    def __enter__(self) -> SandboxProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def spawn_sandbox(config: SandboxConfig | None = None) -> SandboxProcess:
    """Start a sandbox as a process and wait until it answers.

    Raises:
        ConfigurationError: it did not start; the message carries its last words.
    """
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "almanac_pipeline.sandbox",
                *(config or SandboxConfig()).arguments(),
                "--json",
                "--with-parent",
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,  # Ctrl-C reaches the parent, which then stops this in its own order
        )
        line = _first_line(cast(IO[str], process.stdout))
        if not line:
            process.kill()
            process.communicate()
            errors.seek(0)
            last_words = errors.read().strip().splitlines()[-1:] or ["it said nothing"]
            raise ConfigurationError(f"the sandbox did not start: {last_words[0]}")
    return SandboxProcess(process, json.loads(line))


def _first_line(stream: IO[str]) -> str:
    """The first line, or an empty string if none comes in time."""
    lines: queue.Queue[str] = queue.Queue()
    threading.Thread(target=lambda: lines.put(stream.readline()), daemon=True).start()
    try:
        return lines.get(timeout=START_SECONDS)
    except queue.Empty:
        return ""
