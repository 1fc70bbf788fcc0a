"""Every error of the project, grouped by what to do about it.

Holds exception classes and nothing else. A message says what happened, to what, and what
to do next; it never carries a secret or a member's private data. `retriable` is the single
question that retry code asks: everything else is final for this run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

MemberSubject = Literal[
    "following", "followers", "profile", "ratings", "likes", "diary", "watchlist", "lists", "feed"
]
"""What of a member is read and kept."""


class AlmanacError(Exception):
    """Base of every error that we raise on purpose."""

    retriable: bool = False


class RetriableError(AlmanacError):
    """The same request may succeed later: time-outs, 5xx, a truncated page, 429.

    `retry_after_seconds` is what the other side asked for, if it did.
    """

    retriable = True

    def __init__(self, message: str, *, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class LongPauseError(RetriableError):
    """The host asked for a longer pause than anybody waits for; `pause_seconds` of it are left.

    What was asked for has not failed: it is to be asked for after the pause.
    """

    def __init__(self, message: str, *, pause_seconds: float) -> None:
        super().__init__(message, retry_after_seconds=pause_seconds)
        self.pause_seconds = pause_seconds


class ShrunkenError(RetriableError):
    """What came is so much less than what is stored that nothing was changed; `subject` is of what."""

    def __init__(self, message: str, *, subject: MemberSubject) -> None:
        super().__init__(message)
        self.subject = subject


class PermanentError(AlmanacError):
    """Asking again gives the same answer; the item is recorded and left."""


class NotFoundError(PermanentError):
    """The member, film or page does not exist (404, or a page that says so)."""


class RenamedError(PermanentError):
    """The member has another name now; `username` is it."""

    def __init__(self, message: str, *, username: str) -> None:
        super().__init__(message)
        self.username = username


class PrivateError(PermanentError):
    """The site itself says, on a page of its own, that this member's pages are not for us."""


class ForgottenError(PermanentError):
    """The member asked to be forgotten: nothing of theirs is read or stored."""


class ImportFileError(PermanentError):
    """A file cannot be imported; the message names file, row and what to do. Nothing of it was."""


class WrongPageError(PermanentError):
    """A page came, but not the one asked for (other owner, other URL, no owner at all)."""


class LayoutChangedError(PermanentError):
    """The page is the right one, but what we look for in it is gone."""


class LayoutDriftError(AlmanacError):
    """Too many items of too many pages lack what they always had: the site's markup has changed.

    No page of this run can be trusted any more, so that everything stops before anything is merged.
    `LayoutChangedError`, in contrast, says that one page cannot be read.
    """


class BlockedError(AlmanacError):
    """The site refuses us (403, a challenge, robots.txt): stop the whole source and tell someone."""


class PausedError(AlmanacError):
    """Fetching was switched off by an operator (`almanac pause`)."""


class BudgetSpentError(PausedError):
    """The host has been asked as often as it may be today; the next run goes on tomorrow."""


class ConfigurationError(AlmanacError):
    """A setting is missing or contradictory; the message names it."""


class DeliveryError(AlmanacError):
    """Somebody could not be told of alerts; the message holds neither address nor secret."""


class WarehouseError(AlmanacError):
    """PostgreSQL cannot be started, reached or migrated."""


class DatabaseAwayError(WarehouseError):
    """PostgreSQL does not answer now: it is being restarted, or something is between us."""

    retriable = True


class DbtError(AlmanacError):
    """dbt could not parse or build; the message names the model or test and says what it said.

    `nodes` are the results of what it ran before it stopped, failures among them.
    """

    def __init__(self, message: str, nodes: Sequence[Any] = ()) -> None:
        super().__init__(message)
        self.nodes = list(nodes)


class HeldBackError(AlmanacError):
    """A cohort's data contradicts itself: it keeps its last good rows until the audit passes."""


class QualityError(AlmanacError):
    """The numbers of a cohort could not be judged: neither good nor bad, but nothing to go by."""
