"""Log lines: readable ones and JSON, with the run, the cohort, the task and the member that they are about.

Who logs uses the standard library's loggers below `almanac_pipeline` and says a member's id as
`extra={"user_id": …}`, or has it `bound`. A line holds a keyed hash of it: lines of one member can be told
to belong together, by nobody whose it is.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TextIO

from pythonjsonlogger.core import RESERVED_ATTRS
from pythonjsonlogger.json import JsonFormatter

from almanac_pipeline.errors import AlmanacError
from almanac_pipeline.settings import Settings

LOGGER = "almanac_pipeline"
READABLE = logging.Formatter("%(asctime)s %(levelname)-7s %(where)s%(message)s", "%Y-%m-%d %H:%M:%SZ")
READABLE.converter = time.gmtime
JSON = JsonFormatter(
    "%(levelname)s %(name)s %(message)s",
    rename_fields={"levelname": "level", "name": "logger", "exc_info": "error"},
    timestamp=True,
    reserved_attrs=[*RESERVED_ATTRS, "where"],
)
HASH_DIGITS = 12


@dataclass(frozen=True, slots=True)
class Context:
    """What the lines of this thread are about."""

    run_id: str | None = None
    cohort: str | None = None
    task: str | None = None
    user_id: int | None = None
    member_key: bytes | None = None
    """The key of the members' hashes; without one no member is told."""


_is_configured = False
_context: ContextVar[Context] = ContextVar("log context", default=Context())  # noqa: B039


@contextmanager
def bound(**about: Any) -> Iterator[None]:
    """Let the lines of the block be about these fields of `Context`, too; also in threads it starts."""
    token = _context.set(replace(_context.get(), **about))
    try:
        yield
    finally:
        _context.reset(token)


def member_hash(user_id: int, key: bytes) -> str:
    """The word for a member in log lines: HMAC-SHA-256, of which twelve digits tell thousands apart."""
    return hmac.new(key, str(user_id).encode(), hashlib.sha256).hexdigest()[:HASH_DIGITS]


def configure(read_settings: Callable[[], Settings]) -> None:
    """Send the project's log lines to where the settings say; twice is as good as once.

    Writes nothing yet: a file is begun with its first line, in the home folder of that moment. To be
    called while standard output is still the process's own: Dagster turns it into a file during steps.
    """
    global _is_configured
    if _is_configured:
        return
    _is_configured = True
    logger = logging.getLogger(LOGGER)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    if read_settings().log_format == "json":
        # A copy, so that lines of steps reach the container's log and not the step's.
        _add(logger, logging.StreamHandler(_open(os.dup(1))), JSON)
        return
    _add(logger, DailyFile(read_settings), JSON)
    # Standard error itself, which is the step's own log, shown in the Dagster UI, while one is under way.
    _add(logger, logging.StreamHandler(_open(2)), READABLE)


class DailyFile(logging.FileHandler):
    """Appends JSON lines to a file per UTC day, and deletes those that are too old.

    Any number of processes may: lines are appended whole, and no file is ever renamed.
    """

    def __init__(self, read_settings: Callable[[], Settings]) -> None:
        super().__init__(os.devnull, delay=True, encoding="utf-8")
        self._read_settings = read_settings

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._begin_day(datetime.fromtimestamp(record.created, UTC))
            super().emit(record)
        except Exception:
            self.handleError(record)

    def _begin_day(self, today: datetime) -> None:
        """Let the lines go to the file of the day, in the home folder that the settings name now."""
        settings = self._read_settings()
        path = settings.home / "logs" / f"almanac-{today:%Y-%m-%d}.jsonl"
        if str(path) != self.baseFilename:
            self.close()
            path.parent.mkdir(parents=True, exist_ok=True)
            self.baseFilename = str(path)
            _prune(path.parent, f"almanac-{today - timedelta(days=settings.log_keep_days):%Y-%m-%d}.jsonl")

    def handleError(self, record: logging.LogRecord) -> None:
        """A line less stops nobody; a full disk is told by those whose work it stops."""


def error_words(error: BaseException | None) -> str:
    """The class of an error, and what it says if that is ours."""
    if error is None:
        return ""
    said = f": {error}" if isinstance(error, AlmanacError) else ""
    return f"{type(error).__name__}{said}"


def _about(record: logging.LogRecord) -> bool:
    """Put the context into a record, with the member as a hash; the id goes. Once, whoever handles it."""
    if hasattr(record, "where"):
        return True
    context = _context.get()
    user_id = record.__dict__.pop("user_id", None)
    user_id = context.user_id if user_id is None else user_id
    about = {"run_id": context.run_id, "cohort": context.cohort, "task": context.task}
    if user_id is not None and context.member_key is not None:
        about["member"] = member_hash(user_id, context.member_key)
    known = {name: value for name, value in about.items() if value is not None}
    record.__dict__.update(known)
    record.where = "".join(f"{word[:8] if name == 'run_id' else word} " for name, word in known.items())
    if record.exc_info:
        # Of foreign exceptions the class only: their words may repeat anything.
        record.exc_text, record.exc_info = error_words(record.exc_info[1]), None
    return True


def _add(logger: logging.Logger, handler: logging.Handler, formatter: logging.Formatter) -> None:
    handler.addFilter(_about)
    handler.setFormatter(formatter)
    logger.addHandler(handler)


def _open(descriptor: int) -> TextIO:
    return open(descriptor, "w", buffering=1, encoding="utf-8", errors="replace", closefd=False)


def _prune(folder: Path, oldest_kept: str) -> None:
    for path in folder.glob("almanac-*.jsonl"):
        if path.name < oldest_kept:
            path.unlink(missing_ok=True)
