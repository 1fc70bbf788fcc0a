"""Everything one can choose about a sandbox: its world, its manners, its address.

Plain frozen dataclasses; `SandboxConfig.arguments` hands them to the sandbox's own process.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Markup = Literal["2023", "2024", "2025", "2026"]
HistogramMarkup = Literal["old", "new"]
Robots = Literal["permissive", "strict"]


@dataclass(frozen=True)
class GeneratedWorld:
    """How large an invented world is. The seed member follows `members`; `ratings` is the mean of each."""

    seed: int = 7
    members: int = 25
    films: int = 600
    ratings: int = 120


@dataclass(frozen=True)
class MovieLensWorld:
    """Which people of a MovieLens folder are the circle: the `members` lowest ids, or just `member_ids`."""

    folder: str
    members: int = 25
    member_ids: tuple[int, ...] = ()
    until: int | None = None
    """Only what was rated by this moment (Unix seconds) has happened; None means everything."""


@dataclass(frozen=True)
class SandboxOptions:
    """The site's era, manners and speed."""

    markup: Markup = "2026"
    histogram: HistogramMarkup | None = None
    """None means the one of the era: bars before 2026, the table from then on."""
    robots: Robots = "permissive"
    tmdb_token: str | None = None
    """The only bearer token that TMDB accepts; None accepts any."""
    tmdb_requests_per_10_seconds: int | None = None
    """Above this TMDB answers 429; None never does."""
    latency_ms: int = 0
    """How long every answer takes, on top of the work."""
    crlf_exports: bool = False
    """Whether the CSV files of data exports end their lines with CR LF."""

    @property
    def histogram_markup(self) -> HistogramMarkup:
        return self.histogram or ("new" if self.markup == "2026" else "old")


@dataclass(frozen=True)
class SandboxConfig:
    """A sandbox to be started. Port 0 takes a free one."""

    world: GeneratedWorld | MovieLensWorld = GeneratedWorld()
    options: SandboxOptions = field(default_factory=SandboxOptions)
    host: str = "127.0.0.1"
    port: int = 0

    def arguments(self) -> list[str]:
        """The options of `python -m almanac_pipeline.sandbox` that ask for this sandbox."""
        options = self.options
        given: dict[str, object] = {
            "host": self.host,
            "port": self.port,
            "members": self.world.members,
            "markup": options.markup,
            "histogram": options.histogram,
            "robots": options.robots,
            "tmdb-token": options.tmdb_token,
            "tmdb-limit": options.tmdb_requests_per_10_seconds,
            "latency-ms": options.latency_ms,
        }
        if isinstance(self.world, MovieLensWorld):
            given |= {
                "movielens": self.world.folder,
                "member-ids": ",".join(map(str, self.world.member_ids)) or None,
                "until": self.world.until,
            }
        else:
            given |= {"seed": self.world.seed, "films": self.world.films, "ratings": self.world.ratings}
        arguments = [f"--{name}={value}" for name, value in given.items() if value is not None]
        return arguments + (["--crlf"] if options.crlf_exports else [])
