"""How often and after which pause an answer is asked for again: urllib3's Retry with one change."""

from __future__ import annotations

import random
from collections.abc import Mapping

from urllib3.exceptions import InvalidHeader
from urllib3.util.retry import Retry

# No site may silence us for longer than this with one header.
MAX_RETRY_AFTER_SECONDS = 3600


class Backoff(Retry):
    """Counts retries and doubles the pause with each, with jitter.

    urllib3 asks again at once the first time; a server in trouble deserves a pause before that, too.
    """

    def get_backoff_time(self) -> float:
        """Seconds to wait now."""
        if not self.history:
            return 0.0
        pause = self.backoff_factor * 2 ** (len(self.history) - 1)
        return float(min(self.backoff_max, pause * (1 + random.random() * self.backoff_jitter)))

    def retry_after_seconds(self, headers: Mapping[str, str]) -> float | None:
        """What `Retry-After` asks for (seconds or a date), clamped; None if absent or unreadable."""
        value = headers.get("Retry-After")
        if value is None:
            return None
        try:
            return self.parse_retry_after(value)
        except (InvalidHeader, ValueError, OverflowError):
            return None


def backoff(seconds: float) -> Backoff:
    """The first retry after about `seconds`; how many there may be is up to the host's policy."""
    return Backoff(
        backoff_factor=seconds,
        backoff_jitter=0.5,
        retry_after_max=MAX_RETRY_AFTER_SECONDS,
    )
