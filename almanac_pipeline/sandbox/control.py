"""The hidden side of the sandbox: faults on order, and the account of what was asked for.

A fault is chosen by page kind, member or path and used up after a number of requests. Holds no
page content and no HTTP routes; `server` asks here before and tells here after every answer.
"""

from __future__ import annotations

import re
import time
from collections import Counter, defaultdict, deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

FaultKind = Literal["status", "delay", "truncate", "challenge", "empty", "wrong_owner", "reset", "layout"]
WINDOW_SECONDS = 10.0


@dataclass
class Fault:
    """One order to misbehave."""

    fault: FaultKind
    kind: str | None = None
    """The page kind it strikes, e.g. rated; None strikes every kind."""
    match: str | None = None
    """A regular expression searched for in the path."""
    member: str | None = None
    times: int | None = 1
    """How many requests it strikes; None never wears off."""
    skip: int = 0
    """How many matching requests it lets pass first."""
    status: int = 503
    delay_ms: int = 1000
    retry_after: str | None = None
    """Value of the Retry-After header: seconds or a date."""

    @classmethod
    def parse(cls, document: Mapping[str, Any]) -> Fault:
        """A fault from its JSON form.

        Raises:
            ValueError: an unknown key or fault, or a malformed expression.
        """
        values = dict(document)
        unknown = sorted(set(values) - set(cls.__dataclass_fields__))
        if unknown:
            raise ValueError(f"a fault has no {', '.join(unknown)}")
        if values.get("fault") not in get_args(FaultKind):
            raise ValueError(f"fault must be one of {', '.join(get_args(FaultKind))}")
        if values["fault"] == "challenge":
            values.setdefault("status", 403)
        if values.get("retry_after") is not None:
            values["retry_after"] = str(values["retry_after"])
        try:
            re.compile(values.get("match") or "")
        except re.error as error:
            raise ValueError(f"match is no regular expression: {error}") from error
        if values.get("member") is not None:
            values["member"] = str(values["member"]).lower()
        return cls(**values)

    def strikes(self, kind: str, path: str, member: str | None) -> bool:
        return (
            (self.kind is None or self.kind == kind)
            and (self.member is None or self.member == member)
            and (self.match is None or re.search(self.match, path) is not None)
        )


class Faults:
    """The faults that are waiting, oldest first."""

    def __init__(self) -> None:
        self.waiting: list[Fault] = []

    def draw(self, kind: str, path: str, member: str | None) -> Fault | None:
        """The fault for this request, if any; uses it up by one."""
        for fault in self.waiting:
            if not fault.strikes(kind, path, member):
                continue
            if fault.skip:
                fault.skip -= 1
                continue
            if fault.times is not None:
                fault.times -= 1
                if fault.times <= 0:
                    self.waiting.remove(fault)
            return fault
        return None

    def describe(self) -> list[dict[str, Any]]:
        return [asdict(fault) for fault in self.waiting]


class Report:
    """Counts of what was served since the start or the last reset."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.kinds: Counter[str] = Counter()
        self.statuses: Counter[int] = Counter()
        self.members: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.user_agents: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.busiest: Counter[str] = Counter()
        self.gaps: dict[str, float] = {}
        self._recent: dict[str, deque[float]] = {"site": deque(), "tmdb": deque()}

    def arrive(self, surface: Literal["site", "tmdb"]) -> int:
        """Note a request's arrival; returns how many came here in the last ten seconds, this one too."""
        now = time.monotonic()
        recent = self._recent[surface]
        if recent:
            self.gaps[surface] = min(self.gaps.get(surface, WINDOW_SECONDS), now - recent[-1])
        recent.append(now)
        while recent[0] <= now - WINDOW_SECONDS:
            recent.popleft()
        self.busiest[surface] = max(self.busiest[surface], len(recent))
        return len(recent)

    def note(self, kind: str, member: str | None, status: int, user_agent: str) -> None:
        """Count one answer."""
        self.kinds[kind] += 1
        self.statuses[status] += 1
        self.user_agents[user_agent] += 1
        if member is not None:
            self.members[member][kind] += 1

    def describe(self) -> dict[str, Any]:
        return {
            "requests": self.kinds.total(),
            "by_kind": dict(sorted(self.kinds.items())),
            "by_status": {str(status): count for status, count in sorted(self.statuses.items())},
            "by_member": {name: dict(sorted(kinds.items())) for name, kinds in sorted(self.members.items())},
            "max_in_10_seconds": {"site": self.busiest["site"], "tmdb": self.busiest["tmdb"]},
            "smallest_gap_seconds": {name: self.gaps.get(name) for name in ("site", "tmdb")},
            "user_agents": dict(self.user_agents),
            "faults": dict(self.faults),
        }
