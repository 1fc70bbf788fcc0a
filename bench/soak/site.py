"""The outside of the soak: a small world, its circles, what happens in it from day to day, and its faults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

from almanac_pipeline.sandbox.client import ControlClient
from almanac_pipeline.sandbox.options import GeneratedWorld

WORLD = GeneratedWorld(seed=31, members=30, films=150, ratings=40)
FEWEST, MOST = 4, 8
# So many of the circles are whom somebody follows; the others are named.
FOUND_SHARE = 0.4
NEWS_PER_DAY = 15

# What the site does wrong. Each wears off after some requests, but another layout stays for the day.
SITE_FAULTS: Mapping[str, Mapping[str, Any]] = {
    "rate_limited": {"fault": "status", "status": 429, "retry_after": 1},
    "unavailable": {"fault": "status", "status": 503},
    "blocked": {"fault": "challenge"},
    "truncated": {"fault": "truncate"},
    "slow": {"fault": "delay", "delay_ms": 1500},
    "reset": {"fault": "reset"},
    "empty": {"fault": "empty"},
    "wrong_owner": {"fault": "wrong_owner"},
    "layout": {"fault": "layout"},
}
HOME_FAULTS = ("kill", "database_restart", "database_kill")
KINDS = (*SITE_FAULTS, *HOME_FAULTS)
ALL_DAY = "layout"
MOST_STRIKES = 6

Opinions = dict[str, dict[str, tuple[float | None, bool]]]
"""{member: {film's uid: (rating, liked)}}"""


@dataclass(frozen=True)
class Circle:
    """A cohort as it was created."""

    slug: str
    seed: str | None
    """Whose follows are its members; None: they are named."""
    usernames: tuple[str, ...] = ()

    @property
    def definition(self) -> dict[str, Any]:
        if self.seed is not None:
            return {"kind": "following", "seed": self.seed}
        return {"kind": "usernames", "usernames": list(self.usernames)}


@dataclass
class Outside:
    """A sandbox and the chances that rule it."""

    site: ControlClient
    random: Random
    circles: list[Circle] = field(default_factory=list)

    def found_circles(self, count: int) -> None:
        """Choose the cohorts, which overlap, and have the seeds follow just a few."""
        everybody = sorted(self.site.summary()["members"])
        members = [name for name in everybody if self.truth([name])[name]]
        seeds = self.random.sample(members, round(count * FOUND_SHARE))
        for seed in seeds:
            chosen = set(self.random.sample([n for n in members if n != seed], self._size()))
            followed = set(self.site.member(seed)["following"])
            self.site.change(
                unfollow=[{"member": seed, "target": name} for name in sorted(followed - chosen)],
                follow=[{"member": seed, "target": name} for name in sorted(chosen - followed)],
            )
        self.circles = [
            Circle(f"circle-{number:02}", seeds[number])
            if number < len(seeds)
            else Circle(f"circle-{number:02}", None, tuple(self.random.sample(members, self._size())))
            for number in range(count)
        ]

    def circle(self, slug: str) -> Circle:
        """The cohort of that name."""
        return next(circle for circle in self.circles if circle.slug == slug)

    def members_of(self, circle: Circle) -> frozenset[str]:
        """Who belongs to it now, as the site has it."""
        return frozenset(
            circle.usernames if circle.seed is None else self.site.member(circle.seed)["following"]
        )

    def truth(self, members: list[str]) -> Opinions:
        """What these think now."""
        known: Opinions = {}
        for name in members:
            told = self.site.member(name)
            likes = set(told["likes"])
            known[name] = {
                uid: (told["ratings"].get(uid), uid in likes) for uid in {*told["ratings"], *likes}
            }
        return known

    def make_news(self) -> int:
        """A day goes by: opinions come, change and go, somebody follows somebody else. Returns how many."""
        members = sorted({name for circle in self.circles for name in self.members_of(circle)})
        films = [film["uid"] for film in self.site.films() if film["released"]]
        told = 0
        for _ in range(NEWS_PER_DAY):
            name, film = self.random.choice(members), self.random.choice(films)
            rating, liked = self.truth([name])[name].get(film, (None, False))
            entry = {"member": name, "film": film}
            kind = self.random.choices(("rate", "unrate", "like", "unlike"), (6, 1, 2, 1))[0]
            if kind == "rate":
                self.site.change(rate=[entry | {"rating": self.random.randrange(1, 11) / 2}])
            elif kind == "like" and rating is not None:
                self.site.change(like=[entry])
            elif kind == "unrate" and rating is not None:
                self.site.change(unrate=[entry])
            elif kind == "unlike" and liked:
                self.site.change(unlike=[entry])
            else:
                continue
            told += 1
        return told + self._rearrange()

    def order(self, kind: str) -> None:
        """Order a fault of the site."""
        details = dict(SITE_FAULTS[kind])
        if kind == ALL_DAY:
            self.site.fault(**details, times=None)
            return
        times = 1 if kind == "blocked" else self.random.randint(1, MOST_STRIKES)
        page = self.random.choice(("rated_by_date", "rated_by_date", "likes", None))
        self.site.fault(**details, kind=page, times=times, skip=self.random.randrange(12))

    def _rearrange(self) -> int:
        """Somebody's circle gains or loses a member."""
        found = [circle for circle in self.circles if circle.seed is not None]
        if not found:
            return 0
        circle = self.random.choice(found)
        inside = self.members_of(circle)
        outside = {name for other in self.circles for name in self.members_of(other)} - inside - {circle.seed}
        leaves = len(inside) > FEWEST and (len(inside) >= MOST or self.random.random() < 0.5)
        candidates = sorted(inside if leaves else outside)
        if not candidates:
            return 0
        entry = {"member": circle.seed, "target": self.random.choice(candidates)}
        self.site.change(**{"unfollow" if leaves else "follow": [entry]})
        return 1

    def _size(self) -> int:
        return self.random.randint(FEWEST, MOST)


def plan(days: int, random: Random) -> list[tuple[str, ...]]:
    """The faults of each day: the first and the last are calm, every kind comes, another layout rarely.

    Pure, but for the chances.
    """
    kinds = [kind for kind in KINDS if kind != ALL_DAY]
    troubled = list(range(1, days - 1))
    planned: list[list[str]] = [[] for _ in range(days)]
    layout_days = set(random.sample(troubled, min(len(troubled) // 4, max(1, days // 14))))
    waiting: list[str] = []
    slots = [day for day in troubled if day not in layout_days]
    # Every kind at least once, and one or two a day.
    for place in range(max(len(kinds), round(1.5 * len(slots))) if slots else 0):
        today = planned[slots[place % len(slots)]]
        if not set(waiting) - set(today):
            waiting = random.sample(kinds, len(kinds))
        kind = next(kind for kind in waiting if kind not in today)
        waiting.remove(kind)
        today.append(kind)
    for day in layout_days:
        planned[day] = [ALL_DAY]
    return [tuple(faults) for faults in planned]
