"""Which TMDB title a film is: what waits for a person, and what a person has said.

The candidates are written by `enrichment` with the rest of a film. A person's choice is kept by
ops.choose_title; nothing else sets or changes a film whose state is overridden.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

import psycopg
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from almanac_pipeline.errors import ConfigurationError
from almanac_pipeline.sources.records import MediaType
from almanac_pipeline.tmdb.matching import Candidate
from almanac_pipeline.tmdb.titles import MAX_NUMBER
from almanac_pipeline.warehouse.films import lock_films

MatchedBy = Literal["page", "feed", "attributes", "imdb", "search", "person"]
Status = Literal["pending", "fetched", "ambiguous", "not_found", "failed", "overridden"]


@dataclass(frozen=True, slots=True)
class KnownCandidate:
    """A title that may be meant, as the last search found it."""

    media_type: MediaType
    tmdb_id: int
    title: str
    original_title: str | None
    release_year: int | None
    vote_count: int | None
    score: float
    reasons: list[str]


@dataclass(frozen=True, slots=True)
class MatchedFilm:
    """A film, which title it is, and who says so."""

    film_id: int
    title: str
    release_year: int | None
    slug: str | None
    lid: str | None
    uid: str | None
    watchers_count: int
    """Members who rated or liked it."""
    status: Status
    tmdb_media_type: MediaType | None
    tmdb_id: int | None
    matched_by: MatchedBy | None
    is_unknown_to_tmdb: bool
    """TMDB answered that it has no title of this id."""
    next_attempt_at: datetime
    last_error: str | None
    candidates: tuple[KnownCandidate, ...] = ()

    @property
    def name(self) -> str:
        """Title and year."""
        return self.title if self.release_year is None else f"{self.title} ({self.release_year})"


_FILMS = """
    select film.film_id, film.title, film.release_year, film.slug, film.lid, film.uid,
           (select count(*) from raw.ratings as rating
            where rating.film_id = film.film_id and rating.removed_at is null) as watchers_count,
           sync.status, film.tmdb_media_type, film.tmdb_id, sync.tmdb_matched_by as matched_by,
           exists (
               select from raw.tmdb_payloads as answer
               where (answer.media_type, answer.tmdb_id) = (film.tmdb_media_type, film.tmdb_id)
                 and answer.status = 404
           ) as is_unknown_to_tmdb,
           sync.next_attempt_at, sync.last_error
    from raw.films as film
    join ops.film_metadata_sync as sync using (film_id)
"""


def waiting_films(connection: psycopg.Connection) -> list[MatchedFilm]:
    """The films that no TMDB title could be taken for, those that most members have seen first."""
    with connection.cursor(row_factory=class_row(MatchedFilm)) as cursor:
        films = cursor.execute(
            f"{_FILMS} where sync.status in ('ambiguous', 'not_found') order by watchers_count desc, film_id"
        ).fetchall()
    return _with_candidates(connection, films)


def matched_film(connection: psycopg.Connection, film_id: int) -> MatchedFilm:
    """One film with its candidates."""
    with connection.cursor(row_factory=class_row(MatchedFilm)) as cursor:
        films = cursor.execute(f"{_FILMS} where film.film_id = %s", [film_id]).fetchall()
    return _with_candidates(connection, films)[0]


def find_film(connection: psycopg.Connection, name: str) -> int:
    """The film_id of what a person calls a film: its slug, LID, uid, or our number.

    A prefix (slug:, lid:, id:) says which of them is meant where a name is several.

    Raises:
        ConfigurationError: no film or more than one has this name.
    """
    name = name.strip()
    kind, _, value = name.partition(":")
    if kind not in ("slug", "lid", "id"):
        kind, value = "", name
    rows = connection.execute(
        """
        select distinct kind, film_id from (
            select kind, film_id from raw.film_aliases
            where (kind = 'uid' and value = %(value)s) or (kind = 'lid' and value = %(value)s)
               or (kind = 'slug' and value = lower(%(value)s))
            union all
            select 'id', film_id from raw.films where film_id::text = %(value)s
        ) as found
        where kind = %(kind)s or %(kind)s = ''
        order by kind
        """,
        {"kind": kind, "value": value},
    ).fetchall()
    films = {film_id for _, film_id in rows}
    if not films:
        raise ConfigurationError(
            f"No film is called {name!r}. Give its slug, its LID, its uid (film:123) or the number that "
            "`almanac films match list` shows."
        )
    if len(films) > 1:
        kinds = " or ".join(f"{kind}:{value}" for kind, _ in rows)
        raise ConfigurationError(f"{name!r} names more than one film. Say {kinds}.")
    return int(films.pop())


def choose(connection: psycopg.Connection, film_id: int, media_type: MediaType, tmdb_id: int) -> None:
    """Keep a person's word that the film is this title; the next enrichment fetches it."""
    _choose(connection, film_id, media_type, tmdb_id)


def skip(connection: psycopg.Connection, film_id: int) -> None:
    """Keep a person's word that TMDB has no title for the film."""
    _choose(connection, film_id, None, None)


def _choose(
    connection: psycopg.Connection, film_id: int, media_type: MediaType | None, tmdb_id: int | None
) -> None:
    with connection.transaction():
        lock_films(connection)  # no enrichment may be storing the film meanwhile
        connection.execute("select ops.choose_title(%s, %s, %s)", [film_id, media_type, tmdb_id])


def chosen_titles(
    connection: psycopg.Connection, film_ids: Sequence[int]
) -> dict[int, tuple[MediaType | None, int | None]]:
    """The titles of those of these films that a person has settled; (None, None) where there is none."""
    rows = connection.execute(
        """
        select film_id, tmdb_media_type, tmdb_id
        from raw.films join ops.film_metadata_sync using (film_id)
        where film_id = any(%s) and status = 'overridden'
        """,
        [list(film_ids)],
    ).fetchall()
    return {film_id: (media_type, tmdb_id) for film_id, media_type, tmdb_id in rows}


def forget_other_titles(connection: psycopg.Connection, titles: Mapping[int, tuple[MediaType, int]]) -> None:
    """Take back what TMDB said of those films that turn out to be another title than was thought."""
    rows = [(film_id, *key) for film_id, key in titles.items()]
    columns = [list(column) for column in zip(*rows, strict=True)] or [[], [], []]
    connection.execute(
        """
        select ops.forget_title(film_id)
        from unnest(%s::bigint[], %s::text[], %s::bigint[]) as now (film_id, media_type, tmdb_id)
        join raw.films as film using (film_id)
        where (film.tmdb_media_type, film.tmdb_id) <> (now.media_type, now.tmdb_id)
        """,
        columns,
    )


def forget_titles(connection: psycopg.Connection, film_ids: Sequence[int]) -> None:
    """Take back what TMDB said of those films, because it has dropped their titles."""
    connection.execute(
        "select ops.forget_title(film_id) from unnest(%s::bigint[]) as film_id", [list(film_ids)]
    )


def store_candidates(connection: psycopg.Connection, found: Mapping[int, Sequence[Candidate]]) -> None:
    """Replace what may be meant by each of these films, the best first."""
    rows = [
        {
            "film_id": film_id,
            "place": place,
            "media_type": candidate.title.media_type,
            "tmdb_id": candidate.title.tmdb_id,
            "title": candidate.title.title,
            "original_title": candidate.title.original_title,
            "release_year": candidate.title.release_year,
            "vote_count": candidate.title.vote_count,
            "score": candidate.score,
            "reasons": list(candidate.reasons),
        }
        for film_id, candidates in found.items()
        for place, candidate in enumerate(candidates, start=1)
    ]
    connection.execute("delete from ops.film_match_candidates where film_id = any(%s)", [list(found)])
    if rows:
        connection.execute(
            """
            insert into ops.film_match_candidates
                (film_id, place, media_type, tmdb_id, title, original_title, release_year, vote_count,
                 score, reasons)
            select film_id, place, media_type, tmdb_id, title, original_title, release_year, vote_count,
                   score, reasons
            from jsonb_to_recordset(%s) as new (
                film_id bigint, place smallint, media_type text, tmdb_id bigint, title text,
                original_title text, release_year smallint, vote_count integer, score numeric,
                reasons text[]
            )
            """,
            [Jsonb(rows)],
        )


def title_key(text: str) -> tuple[MediaType, int]:
    """The TMDB title that a person names: movie:603, tv:1399, or the address of its page there.

    Raises:
        ConfigurationError: it is none of these.
    """
    found = re.fullmatch(
        r"(?:(?:https?://)?(?:www\.)?themoviedb\.org/)?(movie|tv)[:/](\d{1,12})(?:[-/?#].*)?", text.strip()
    )
    if found is None or not 0 < int(found[2]) <= MAX_NUMBER:
        raise ConfigurationError(
            f"{text!r} names no TMDB title. Give movie:123, tv:123 or the address of its page there."
        )
    return ("movie" if found[1] == "movie" else "tv"), int(found[2])


def _with_candidates(connection: psycopg.Connection, films: list[MatchedFilm]) -> list[MatchedFilm]:
    candidates: dict[int, list[KnownCandidate]] = {}
    for film_id, *columns in connection.execute(
        """
        select film_id, media_type, tmdb_id, title, original_title, release_year, vote_count,
               score::float8, reasons
        from ops.film_match_candidates where film_id = any(%s) order by film_id, place
        """,
        [[film.film_id for film in films]],
    ):
        candidates.setdefault(film_id, []).append(KnownCandidate(*columns))
    return [replace(film, candidates=tuple(candidates.get(film.film_id, ()))) for film in films]
