"""What is known of films beyond their names: the film page, TMDB's answer, the global histogram.

A batch is stored in one transaction. Where TMDB and the page speak of the same thing TMDB is
taken, and raw.films.field_sources says who was. `combine` is that rule, a pure function.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import date
from decimal import Decimal
from typing import Any, Literal

import psycopg
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from almanac_pipeline.errors import AlmanacError, NotFoundError
from almanac_pipeline.sources.records import FilmPage, Histogram, MediaType
from almanac_pipeline.tmdb.matching import Candidate
from almanac_pipeline.tmdb.titles import Role, TmdbCountry, TmdbCredit, TmdbTitle
from almanac_pipeline.warehouse.films import (
    FilmKey,
    fill_incoming,
    lock_films,
    open_incoming,
    resolve_incoming,
)
from almanac_pipeline.warehouse.matches import (
    MatchedBy,
    Status,
    chosen_titles,
    forget_other_titles,
    store_candidates,
)
from almanac_pipeline.warehouse.runs import resolve_failures
from almanac_pipeline.warehouse.upkeep import COHORT_FILMS

POSTER_URL = "https://image.tmdb.org/t/p/w500"
PORTRAIT_URL = "https://image.tmdb.org/t/p/w185"
# Billing below this is walk-ons; raw.tmdb_payloads keeps them all.
MAXIMUM_CAST = 20
# A failed film is tried by the next run at most this often, then after 1, 2, 4 … 30 days.
QUICK_ATTEMPTS = 3

Provider = Literal["page", "tmdb"]


@dataclass(frozen=True, slots=True)
class DueFilm:
    """A film to enrich, with what is known of its identity."""

    film_id: int
    slug: str | None
    """None for a film that only an export has named, which has no page to ask for."""
    uid: str | None
    lid: str | None
    title: str | None
    """None where no source has named it yet."""
    release_year: int | None
    imdb_id: str | None
    needs_page: bool
    tmdb_media_type: MediaType | None
    tmdb_id: int | None
    matched_by: MatchedBy | None
    is_chosen: bool
    """A person said which title it is, or that it is none: nothing else has a say."""


@dataclass(frozen=True, slots=True)
class CachedTitle:
    """TMDB's answer as we hold it."""

    payload: str
    etag: str | None
    is_fresh: bool
    """TMDB's own Cache-Control still holds: no need to ask."""


@dataclass(frozen=True, slots=True)
class FetchedTitle:
    """What asking TMDB for a title gave. `payload` is None where nothing new is to be stored."""

    media_type: MediaType
    tmdb_id: int
    status: Literal[200, 304, 404]
    title: TmdbTitle | None
    payload: str | None
    etag: str | None
    max_age_seconds: int | None
    was_asked: bool = True
    """False where our copy was fresh enough."""


@dataclass(frozen=True, slots=True)
class FetchedFilm:
    """What asking for a film gave: parts that are None were not asked for or failed."""

    film_id: int
    page: FilmPage | None = None
    title: FetchedTitle | None = None
    error: AlmanacError | None = None
    requests: int = 0
    matched_by: MatchedBy | None = None
    """Who said which title it is; None where nobody did or nobody was asked."""
    candidates: tuple[Candidate, ...] | None = None
    """What may be meant, where TMDB was searched and none could be taken."""

    @property
    def is_cache_hit(self) -> bool:
        """Whether TMDB's title is the copy that we had."""
        return self.title is not None and (not self.title.was_asked or self.title.status == 304)


@dataclass(frozen=True, slots=True)
class EnrichedFilm:
    """An enriched film, for people to look at."""

    title: str
    release_year: int | None
    directors: str | None
    runtime_minutes: int | None
    tmdb: str | None
    """Media type and id."""


@dataclass(frozen=True, slots=True)
class HistogramPreview:
    """A film's global ratings, for people to look at."""

    title: str
    release_year: int | None
    stated_ratings: int | None
    stated_average: Decimal | None


@dataclass(frozen=True, slots=True)
class FilmFields:
    """The columns of raw.films that enrichment owns."""

    title: str
    original_title: str | None = None
    release_year: int | None = None
    release_date: date | None = None
    runtime_minutes: int | None = None
    overview: str | None = None
    poster_url: str | None = None
    tmdb_media_type: MediaType | None = None
    tmdb_id: int | None = None
    imdb_id: str | None = None
    tmdb_vote_average: float | None = None
    tmdb_vote_count: int | None = None
    stated_average: float | None = None
    stated_ratings: int | None = None
    field_sources: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Credit:
    """A person's part in a film. At least one of the two ids is usually there."""

    name: str
    tmdb_person_id: int | None = None
    letterboxd_slug: str | None = None
    profile_url: str | None = None
    character_name: str | None = None


@dataclass(frozen=True, slots=True)
class FilmSets:
    """What a film has several of. None, or a role that is missing: leave what is stored."""

    genres: tuple[str, ...] | None = None
    countries: tuple[TmdbCountry, ...] | None = None
    """The ISO code is empty where only the page names the country."""
    credits: dict[Role, tuple[Credit, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DueHistogram:
    """A film whose global histogram is to be read."""

    film_id: int
    histogram_url: str


@dataclass(frozen=True, slots=True)
class FetchedHistogram:
    """What reading a histogram gave; None for a film that nobody rated."""

    film_id: int
    histogram: Histogram | None = None
    error: AlmanacError | None = None


# -- films ------------------------------------------------------------------------------------


def films_due(
    connection: psycopg.Connection, cohort_id: int, *, with_tmdb: bool, with_pages: bool = True
) -> list[DueFilm]:
    """The films of the cohort's members that asking may help now, those seen by most first.

    Without pages TMDB is asked alone; the films stay due for their page until pages may be read.
    """
    with connection.cursor(row_factory=class_row(DueFilm)) as cursor:
        return cursor.execute(
            f"""
            with needing as materialized (
                select film_id, is_page_due
                from ops.films_needing_enrichment
                where next_attempt_at <= now()
                  and (%(with_pages)s and is_page_due or %(with_tmdb)s and is_title_due)
            )
            select film_id, slug, uid, lid,
                   case when field_sources ->> 'title' is distinct from 'slug' then film.title end as title,
                   release_year, imdb_id, %(with_pages)s and is_page_due as needs_page,
                   tmdb_media_type, tmdb_id, tmdb_matched_by as matched_by,
                   sync.status = 'overridden' as is_chosen
            from ({COHORT_FILMS}) as seen
            join needing using (film_id)
            join raw.films as film using (film_id)
            join ops.film_metadata_sync as sync using (film_id)
            order by seen.watchers_count desc, film_id
            """,
            {"cohort": cohort_id, "with_tmdb": with_tmdb, "with_pages": with_pages},
        ).fetchall()


def count_fetched(connection: psycopg.Connection, cohort_id: int) -> int:
    """How many of the cohort's films have had their page read."""
    row = connection.execute(
        f"""
        select count(*) from ({COHORT_FILMS}) as seen
        join ops.film_metadata_sync using (film_id) where page_fetched_at is not null
        """,
        {"cohort": cohort_id},
    ).fetchone()
    assert row is not None
    return int(row[0])


def learn_tmdb_ids(connection: psycopg.Connection, titles: Mapping[str, tuple[MediaType, int]]) -> int:
    """Keep the TMDB title of each film, by slug, that had none or one that was only found.

    Returns of how many films that was news. One transaction.
    """
    given = [(slug, media_type, tmdb_id) for slug, (media_type, tmdb_id) in sorted(titles.items())]
    unknown = """
        select distinct on (film_id) film_id, told.media_type, told.tmdb_id
        from unnest(%s::text[], %s::text[], %s::bigint[]) as told (slug, media_type, tmdb_id)
        join raw.film_aliases as alias on alias.kind = 'slug' and alias.value = told.slug
        join raw.films as film using (film_id)
        join ops.film_metadata_sync as sync using (film_id)
        where sync.status <> 'overridden'
          and (film.tmdb_id is null
               or sync.tmdb_matched_by in ('imdb', 'search')
                  and (film.tmdb_media_type, film.tmdb_id) <> (told.media_type, told.tmdb_id))
        order by film_id
    """
    values = [list(column) for column in zip(*given, strict=True)] or [[], [], []]
    if connection.execute(f"select from ({unknown}) as found", values).rowcount == 0:
        return 0
    with connection.transaction():
        lock_films(connection)
        connection.execute(
            f"""
            select ops.forget_title(film_id) from ({unknown}) as found
            join raw.films as film using (film_id) where film.tmdb_id is not null
            """,
            values,
        )
        return connection.execute(
            f"""
            with learnt as (
                update raw.films as film
                set tmdb_media_type = found.media_type, tmdb_id = found.tmdb_id, updated_at = now()
                from ({unknown}) as found where film.film_id = found.film_id
                returning film.film_id, film.tmdb_media_type || '/' || film.tmdb_id as value
            ), again as (
                update ops.film_metadata_sync as sync
                set tmdb_matched_by = 'feed', tmdb_fetched_at = null, next_attempt_at = now(),
                    updated_at = now()
                from learnt where sync.film_id = learnt.film_id
            )
            insert into raw.film_aliases (kind, value, film_id)
            select 'tmdb', value, film_id from learnt order by value, film_id
            on conflict (kind, value, film_id) do nothing
            """,
            values,
        ).rowcount


def cached_title(connection: psycopg.Connection, media_type: MediaType, tmdb_id: int) -> CachedTitle | None:
    """TMDB's last answer about a title, while the terms let us keep it."""
    with connection.cursor(row_factory=class_row(CachedTitle)) as cursor:
        return cursor.execute(
            """
            select payload::text as payload, etag, coalesce(fresh_until > now(), false) as is_fresh
            from raw.tmdb_payloads
            where media_type = %s and tmdb_id = %s and payload is not null and expires_at > now()
            """,
            [media_type, tmdb_id],
        ).fetchone()


def combine(
    current: FilmFields, page: FilmPage | None, title: TmdbTitle | None
) -> tuple[FilmFields, FilmSets]:
    """A film's fields and sets after a page and a TMDB title, either of which may be missing. Pure.

    What TMDB gave once is not replaced by the page's word while TMDB says nothing.
    """
    values: dict[str, Any] = {}
    sources = dict(current.field_sources)
    genres: tuple[str, ...] | None = None
    countries: tuple[TmdbCountry, ...] | None = None
    credits: dict[Role, tuple[Credit, ...]] = {}

    def take(name: str, provider: Provider, value: object) -> bool:
        """Whether the provider has something to say that nobody better has said."""
        if not value or (provider == "page" and sources.get(name) == "tmdb"):
            return False
        values[name], sources[name] = value, provider
        return True

    if page is not None:
        for name in ("title", "original_title", "runtime_minutes", "imdb_id", "poster_url", "overview"):
            take(name, "page", getattr(page, name))
        if page.release_year is not None:  # the site's year is part of the film's name there
            values["release_year"], sources["release_year"] = page.release_year, "page"
        values["stated_average"], values["stated_ratings"] = page.average, page.ratings
        is_better = page.is_tmdb_linked or current.tmdb_id is None
        if page.tmdb_media_type is not None and page.tmdb_id is not None and is_better:
            values["tmdb_media_type"], values["tmdb_id"] = page.tmdb_media_type, page.tmdb_id
        if take("genres", "page", page.genres):
            genres = page.genres
        if take("countries", "page", page.countries):
            countries = tuple(TmdbCountry("", name) for name in page.countries)
        if take("directors", "page", page.directors):
            credits["director"] = tuple(
                Credit(director.name, letterboxd_slug=director.slug) for director in page.directors
            )
    if title is not None:
        values["tmdb_media_type"], values["tmdb_id"] = title.media_type, title.tmdb_id
        if (values.get("release_year") or current.release_year) is None:
            take("release_year", "tmdb", title.release_year)
        for name in ("original_title", "runtime_minutes", "imdb_id", "overview", "release_date"):
            take(name, "tmdb", getattr(title, name))
        take("poster_url", "tmdb", title.poster_path and POSTER_URL + title.poster_path)
        values["tmdb_vote_average"], values["tmdb_vote_count"] = title.vote_average, title.vote_count
        if take("genres", "tmdb", title.genres):
            genres = title.genres
        if take("countries", "tmdb", title.countries):
            countries = title.countries
        # The page links its directors; TMDB's people of the same name in this film are the same.
        slugs = {link.name.casefold(): link.slug for link in page.directors} if page is not None else {}
        told: tuple[tuple[Role, tuple[TmdbCredit, ...]], ...] = (
            ("director", title.directors),
            ("writer", title.writers),
            ("actor", title.cast[:MAXIMUM_CAST]),
        )
        for role, people in told:
            if take(f"{role}s", "tmdb", people):
                credits[role] = tuple(
                    Credit(
                        name=person.name,
                        tmdb_person_id=person.person_id,
                        letterboxd_slug=slugs.get(person.name.casefold()),
                        profile_url=person.profile_path and PORTRAIT_URL + person.profile_path,
                        character_name=person.character,
                    )
                    for person in people
                )
    columns = {name: value for name, value in values.items() if name in FilmFields.__dataclass_fields__}
    return replace(current, **columns, field_sources=sources), FilmSets(genres, countries, credits)


def store_films(connection: psycopg.Connection, batch: Sequence[FetchedFilm]) -> None:
    """Store a batch of fetched films, failures included, in one transaction."""
    with connection.transaction():
        open_incoming(connection)
        films = _follow_identities(connection, batch)
        chosen = chosen_titles(connection, list(films))
        films |= {film_id: _as_chosen(films[film_id], key) for film_id, key in chosen.items()}
        keys = {film_id: _title_key(film) for film_id, film in films.items()}
        forget_other_titles(connection, {film_id: key for film_id, key in keys.items() if key is not None})
        _store_payloads(connection, [film.title for film in films.values() if film.title is not None])
        current = _current_fields(connection, list(films))
        combined = {
            film_id: combine(current[film_id], film.page, film.title.title if film.title else None)
            for film_id, film in films.items()
            if film.page is not None or film.title is not None
        }
        _store_fields(connection, {film_id: fields for film_id, (fields, _) in combined.items()})
        sets = {film_id: found for film_id, (_, found) in combined.items()}
        _store_genres(connection, sets)
        _store_countries(connection, sets)
        _store_people(connection, sets)
        _store_outcomes(connection, films)
        store_candidates(
            connection,
            {
                film_id: film.candidates or ()
                for film_id, film in films.items()
                if film.error is None and film_id not in chosen
            },
        )
        resolve_failures(
            connection,
            "film",
            film_ids=[film_id for film_id, film in films.items() if film.error is None],
        )


def _title_key(film: FetchedFilm) -> tuple[MediaType, int] | None:
    """Which title the film is by what was fetched, where that is for certain."""
    if film.title is not None:
        return film.title.media_type, film.title.tmdb_id
    page = film.page
    if page is None or page.tmdb_media_type is None or page.tmdb_id is None or not page.is_tmdb_linked:
        return None
    return page.tmdb_media_type, page.tmdb_id


def _as_chosen(film: FetchedFilm, key: tuple[MediaType | None, int | None]) -> FetchedFilm:
    """What was fetched of a film whose title a person has settled, perhaps only meanwhile."""
    media_type, tmdb_id = key
    is_same = film.title is not None and (film.title.media_type, film.title.tmdb_id) == key
    return replace(
        film,
        page=replace(film.page, tmdb_media_type=media_type, tmdb_id=tmdb_id) if film.page else None,
        title=film.title if is_same else None,
        candidates=None,
    )


def preview_films(
    connection: psycopg.Connection, film_ids: Sequence[int], limit: int = 10
) -> tuple[EnrichedFilm, ...]:
    """The first of these films as they are stored."""
    with connection.cursor(row_factory=class_row(EnrichedFilm)) as cursor:
        return tuple(
            cursor.execute(
                """
                select title, release_year, runtime_minutes, tmdb_media_type || '/' || tmdb_id as tmdb,
                       (select string_agg(name, ', ' order by credit_order)
                        from raw.film_people join raw.people using (person_id)
                        where film_people.film_id = films.film_id and role = 'director') as directors
                from raw.films where film_id = any(%s) order by film_id limit %s
                """,
                [list(film_ids), limit],
            ).fetchall()
        )


def _follow_identities(
    connection: psycopg.Connection, batch: Sequence[FetchedFilm]
) -> dict[int, FetchedFilm]:
    """Take up the slugs and ids that the pages state; returns the batch by present film id."""
    read = [(film.film_id, film.page) for film in batch if film.page is not None]
    fill_incoming(
        connection,
        [FilmKey(page.slug, page.uid, page.lid, page.title, page.release_year) for _, page in read],
        [film_id for film_id, _ in read],
    )
    resolve_incoming(connection)
    rows = connection.execute("select film_id from incoming order by position").fetchall()
    moved = {before: int(after) for (before, _), (after,) in zip(read, rows, strict=True)}
    films: dict[int, FetchedFilm] = {}
    for film in batch:
        # Two films of the batch that turned out to be one: the first is enough.
        films.setdefault(moved.get(film.film_id, film.film_id), film)
    rows = connection.execute(
        "select film_id from raw.films where film_id = any(%s)", [list(films)]
    ).fetchall()
    return {film_id: films[film_id] for (film_id,) in rows}


def _store_payloads(connection: psycopg.Connection, titles: Sequence[FetchedTitle]) -> None:
    # Within one statement a key may come once; two films may share a title.
    unique = {(title.media_type, title.tmdb_id): title for title in titles if title.was_asked}
    for (media_type, tmdb_id), title in sorted(unique.items()):
        connection.execute(
            """
            insert into raw.tmdb_payloads as known
                (media_type, tmdb_id, payload, status, etag, fetched_at, fresh_until, expires_at)
            values (%(type)s, %(id)s, %(payload)s::json, %(status)s, %(etag)s, now(),
                    now() + make_interval(secs => %(age)s), now() + interval '180 days')
            on conflict (media_type, tmdb_id) do update
            set payload = case when %(status)s = 304 then known.payload else excluded.payload end,
                status = case when %(status)s = 304 then known.status else excluded.status end,
                etag = case when %(status)s = 304 then coalesce(excluded.etag, known.etag)
                            else excluded.etag end,
                fetched_at = excluded.fetched_at, fresh_until = excluded.fresh_until,
                expires_at = excluded.expires_at
            """,
            {
                "type": media_type,
                "id": tmdb_id,
                "payload": title.payload,
                "status": title.status,
                "etag": title.etag,
                "age": title.max_age_seconds or 0,
            },
        )


_FIELD_TYPES = {
    "title": "text",
    "original_title": "text",
    "release_year": "smallint",
    "release_date": "date",
    "runtime_minutes": "integer",
    "overview": "text",
    "poster_url": "text",
    "tmdb_media_type": "text",
    "tmdb_id": "bigint",
    "imdb_id": "text",
    "tmdb_vote_average": "numeric(5, 3)",
    "tmdb_vote_count": "integer",
    "stated_average": "numeric(4, 2)",
    "stated_ratings": "bigint",
    "field_sources": "jsonb",
}
_FIELDS = ", ".join(_FIELD_TYPES)


def _current_fields(connection: psycopg.Connection, film_ids: Sequence[int]) -> dict[int, FilmFields]:
    rows = connection.execute(
        f"select film_id, {_FIELDS} from raw.films where film_id = any(%s)", [film_ids]
    ).fetchall()
    return {film_id: FilmFields(*columns) for film_id, *columns in rows}


def _store_fields(connection: psycopg.Connection, films: dict[int, FilmFields]) -> None:
    rows = [{"film_id": film_id, **asdict(fields)} for film_id, fields in films.items()]
    types = ", ".join(f"{name} {kind}" for name, kind in _FIELD_TYPES.items())
    connection.execute(
        f"""
        update raw.films
        set {", ".join(f"{name} = new.{name}" for name in _FIELD_TYPES)}, updated_at = now()
        from jsonb_to_recordset(%s) as new (film_id bigint, {types})
        where films.film_id = new.film_id
          and ({", ".join(f"films.{name}" for name in _FIELD_TYPES)})
              is distinct from ({", ".join(f"new.{name}" for name in _FIELD_TYPES)})
        """,
        [_jsonb(rows)],
    )
    connection.execute(
        """
        insert into raw.film_aliases (kind, value, film_id)
        select ids.kind, ids.value, film_id from raw.films
        cross join lateral (values ('imdb', imdb_id), ('tmdb', tmdb_media_type || '/' || tmdb_id))
            as ids (kind, value)
        where film_id = any(%s) and ids.value is not null
        order by 1, 2, 3
        on conflict (kind, value, film_id) do nothing
        """,
        [list(films)],
    )


def _store_genres(connection: psycopg.Connection, sets: dict[int, FilmSets]) -> None:
    rows = [
        {"film_id": film_id, "name": name}
        for film_id, found in sets.items()
        for name in dict.fromkeys(found.genres or ())
    ]
    replaced = [film_id for film_id, found in sets.items() if found.genres is not None]
    parameters = {"rows": _jsonb(rows), "films": replaced}
    connection.execute(
        """
        insert into raw.genres (name)
        select distinct name from jsonb_to_recordset(%(rows)s) as new (name text)
        where not exists (select from raw.genres as known where known.name = new.name)
        order by name
        on conflict (name) do nothing
        """,
        parameters,
    )
    connection.execute(
        """
        with new as (
            select film_id, genre_id
            from jsonb_to_recordset(%(rows)s) as row (film_id bigint, name text)
            join raw.genres using (name)
        ), gone as (
            delete from raw.film_genres
            where film_id = any(%(films)s) and (film_id, genre_id) not in (select film_id, genre_id from new)
        )
        insert into raw.film_genres (film_id, genre_id)
        select film_id, genre_id from new order by 1, 2
        on conflict do nothing
        """,
        parameters,
    )


def _store_countries(connection: psycopg.Connection, sets: dict[int, FilmSets]) -> None:
    rows = [
        {"film_id": film_id, "iso_code": country.iso_code or None, "name": country.name}
        for film_id, found in sets.items()
        for country in found.countries or ()
    ]
    replaced = [film_id for film_id, found in sets.items() if found.countries is not None]
    parameters = {"rows": _jsonb(rows), "films": replaced}
    connection.execute(
        """
        update raw.countries set iso_code = new.iso_code
        from (select distinct on (name) name, iso_code
              from jsonb_to_recordset(%(rows)s) as row (iso_code text, name text)
              where iso_code is not null order by name, iso_code) as new
        where countries.name = new.name and countries.iso_code is null
          and not exists (select from raw.countries as other where other.iso_code = new.iso_code)
        """,
        parameters,
    )
    connection.execute(
        """
        insert into raw.countries (iso_code, name)
        select distinct on (name) iso_code, name
        from (select distinct on (coalesce(iso_code, name)) iso_code, name
              from jsonb_to_recordset(%(rows)s) as row (iso_code text, name text)
              order by coalesce(iso_code, name), name) as new
        where not exists (
            select from raw.countries as known
            where known.name = new.name or known.iso_code = new.iso_code
        )
        order by name, iso_code
        on conflict do nothing
        """,
        parameters,
    )
    connection.execute(
        """
        with new as (
            select distinct film_id, coalesce(by_code.country_id, by_name.country_id) as country_id
            from jsonb_to_recordset(%(rows)s) as row (film_id bigint, iso_code text, name text)
            left join raw.countries as by_code on by_code.iso_code = row.iso_code
            left join raw.countries as by_name on by_name.name = row.name
        ), gone as (
            delete from raw.film_countries
            where film_id = any(%(films)s)
              and (film_id, country_id) not in (select film_id, country_id from new)
        )
        insert into raw.film_countries (film_id, country_id)
        select film_id, country_id from new order by 1, 2
        on conflict do nothing
        """,
        parameters,
    )


def _store_people(connection: psycopg.Connection, sets: dict[int, FilmSets]) -> None:
    rows = [
        {"film_id": film_id, "role": role, "credit_order": order, **asdict(credit)}
        for film_id, found in sets.items()
        for role, credits in found.credits.items()
        for order, credit in enumerate(credits)
    ]
    if not rows:
        return
    connection.execute(
        """
        create temporary table if not exists incoming_people (
            film_id bigint, role text, credit_order smallint, name text, tmdb_person_id bigint,
            letterboxd_slug text, profile_url text, character_name text, person_id bigint
        ) on commit delete rows
        """
    )
    connection.execute("delete from incoming_people")
    connection.execute(
        """
        insert into incoming_people
        select * from jsonb_to_recordset(%s) as row (
            film_id bigint, role text, credit_order smallint, name text, tmdb_person_id bigint,
            letterboxd_slug text, profile_url text, character_name text, person_id bigint
        )
        """,
        [_jsonb(rows)],
    )
    # A person known from a page only is the TMDB person of the same film and name, or the same link.
    connection.execute(
        """
        update incoming_people as new set letterboxd_slug = known.letterboxd_slug
        from raw.film_people as part join raw.people as known using (person_id)
        where part.film_id = new.film_id and part.role = new.role and lower(known.name) = lower(new.name)
          and known.tmdb_person_id is null and new.tmdb_person_id is not null
          and new.letterboxd_slug is null
        """
    )
    connection.execute(
        """
        update raw.people set tmdb_person_id = new.tmdb_person_id, updated_at = now()
        from (select distinct on (letterboxd_slug) letterboxd_slug, tmdb_person_id from incoming_people
              where tmdb_person_id is not null and letterboxd_slug is not null
              order by letterboxd_slug, tmdb_person_id) as new
        where people.letterboxd_slug = new.letterboxd_slug and people.tmdb_person_id is null
          and not exists (
              select from raw.people as other where other.tmdb_person_id = new.tmdb_person_id
          )
        """
    )
    _find_people(connection)
    connection.execute(
        """
        insert into raw.people (tmdb_person_id, letterboxd_slug, name, profile_url)
        select tmdb_person_id,
               -- Two people of one name in one film: the page's link can be only one's.
               case when letterboxd_slug is not null and place = 1 and not exists (
                   select from raw.people as other where other.letterboxd_slug = new.letterboxd_slug
               ) then letterboxd_slug end,
               name, profile_url
        from (
            select *, row_number() over (partition by letterboxd_slug order by tmdb_person_id) as place
            from (
                select distinct on (tmdb_person_id, coalesce(tmdb_person_id::text, letterboxd_slug, name))
                    tmdb_person_id, letterboxd_slug, name, profile_url
                from incoming_people where person_id is null
                order by tmdb_person_id, coalesce(tmdb_person_id::text, letterboxd_slug, name),
                         letterboxd_slug nulls last
            ) as person
        ) as new
        order by tmdb_person_id, letterboxd_slug, name
        """
    )
    _find_people(connection)
    # Whoever was an actor first and directs now gets the page's link then: the order must not matter.
    connection.execute(
        """
        update raw.people as known set letterboxd_slug = new.letterboxd_slug, updated_at = now()
        from (select distinct on (letterboxd_slug) letterboxd_slug, person_id from incoming_people
              where tmdb_person_id is not null and letterboxd_slug is not null
              order by letterboxd_slug, tmdb_person_id) as new
        where known.person_id = new.person_id and known.letterboxd_slug is null
          and not exists (
              select from raw.people as other where other.letterboxd_slug = new.letterboxd_slug
          )
        """
    )
    connection.execute(
        """
        update raw.people as known
        set name = new.name, profile_url = coalesce(new.profile_url, known.profile_url), updated_at = now()
        from (select distinct on (person_id) person_id, name, profile_url from incoming_people
              order by person_id, profile_url nulls last, name) as new
        where known.person_id = new.person_id
          and (known.name, known.profile_url)
              is distinct from (new.name, coalesce(new.profile_url, known.profile_url))
        """
    )
    connection.execute(
        """
        with new as (
            select distinct on (film_id, person_id, role)
                film_id, person_id, role, credit_order, character_name
            from incoming_people
            order by film_id, person_id, role, credit_order
        ), gone as (
            delete from raw.film_people as known
            using (select distinct film_id, role from incoming_people) as told
            where known.film_id = told.film_id and known.role = told.role
              and not exists (
                  select from new
                  where (new.film_id, new.person_id, new.role)
                        = (known.film_id, known.person_id, known.role)
              )
        )
        insert into raw.film_people as known (film_id, person_id, role, credit_order, character_name)
        select film_id, person_id, role, credit_order, character_name from new
        order by film_id, person_id, role
        on conflict (film_id, person_id, role) do update
        set credit_order = excluded.credit_order, character_name = excluded.character_name
        where (known.credit_order, known.character_name)
              is distinct from (excluded.credit_order, excluded.character_name)
        """
    )


def _find_people(connection: psycopg.Connection) -> None:
    """Give rows of `incoming_people` their person: by TMDB's id, else the page's link, else the name."""
    for same in (
        "known.tmdb_person_id = new.tmdb_person_id",
        "new.tmdb_person_id is null and known.letterboxd_slug = new.letterboxd_slug",
        "num_nonnulls(new.tmdb_person_id, new.letterboxd_slug) = 0 and known.name = new.name"
        " and num_nonnulls(known.tmdb_person_id, known.letterboxd_slug) = 0",
    ):
        connection.execute(
            f"""
            update incoming_people as new set person_id = known.person_id
            from raw.people as known where new.person_id is null and {same}
            """
        )


def _store_outcomes(connection: psycopg.Connection, films: dict[int, FetchedFilm]) -> None:
    """Move each film's state, and say when it is asked about next: after 1, 2, 4 … 30 days.

    What may go away soon is tried again at once at first. A film that has its data, or a person's
    word, keeps its state when it cannot be refreshed. ops.refuse_status_move knows the allowed moves.
    """
    rows = [
        {
            "film_id": film_id,
            "outcome": _outcome(film),
            "has_page": film.page is not None,
            "has_title": film.title is not None,
            "matched_by": film.matched_by,
            "histogram_url": film.page.histogram_url if film.page else None,
            "error": str(film.error) if film.error else None,
            "quick_attempts": QUICK_ATTEMPTS if film.error is not None and film.error.retriable else 1,
        }
        for film_id, film in films.items()
    ]
    connection.execute(
        """
        update ops.film_metadata_sync as sync
        set status = moved.status,
            attempts = moved.attempts,
            next_attempt_at = case
                when moved.attempts = 0 then sync.next_attempt_at
                when moved.attempts < new.quick_attempts then now()
                else now() + least(30, power(2, moved.attempts - new.quick_attempts)) * interval '1 day' end,
            page_fetched_at = case when new.has_page then now() else sync.page_fetched_at end,
            histogram_url = case when new.has_page then coalesce(new.histogram_url, sync.histogram_url)
                                 else sync.histogram_url end,
            tmdb_fetched_at = case when new.has_title then now() else sync.tmdb_fetched_at end,
            tmdb_matched_by = case when sync.status = 'overridden' then 'person'
                                   else coalesce(new.matched_by, sync.tmdb_matched_by) end,
            last_error = new.error,
            updated_at = now()
        from jsonb_to_recordset(%(rows)s) as new (
            film_id bigint, outcome text, has_page boolean, has_title boolean, matched_by text,
            histogram_url text, error text, quick_attempts integer
        )
        join ops.film_metadata_sync as before using (film_id)
        cross join lateral (
            select case when before.status = 'overridden' then before.status
                        when before.status = 'fetched' and new.error is not null then before.status
                        else new.outcome end as status
        ) as kept
        cross join lateral (
            select kept.status,
                   case when new.outcome = 'fetched' then 0
                        when kept.status = before.status then before.attempts + 1
                        else 1 end as attempts
        ) as moved
        where sync.film_id = new.film_id
        """,
        {"rows": _jsonb(rows)},
    )


def _outcome(film: FetchedFilm) -> Status:
    if film.error is not None:
        return "not_found" if isinstance(film.error, NotFoundError) else "failed"
    if film.candidates is None:
        return "fetched"
    return "ambiguous" if film.candidates else "not_found"


# -- histograms -------------------------------------------------------------------------------

_COUNT_COLUMNS = tuple(f"count_{half_stars // 2}_{half_stars % 2 * 5}" for half_stars in range(1, 11))


def histograms_due(connection: psycopg.Connection, cohort_id: int) -> list[DueHistogram]:
    """The cohort's films whose histogram was never read or too long ago, oldest first."""
    with connection.cursor(row_factory=class_row(DueHistogram)) as cursor:
        return cursor.execute(
            f"""
            select film_id, histogram_url
            from ({COHORT_FILMS}) as seen
            join ops.films_needing_enrichment as needing using (film_id)
            join ops.film_metadata_sync as sync using (film_id)
            where is_histogram_due
            order by histogram_fetched_at nulls first, watchers_count desc, film_id
            """,
            {"cohort": cohort_id},
        ).fetchall()


def count_histograms(connection: psycopg.Connection, cohort_id: int) -> int:
    """How many of the cohort's films had their histogram read."""
    row = connection.execute(
        f"""
        select count(*) from ({COHORT_FILMS}) as seen
        join ops.film_metadata_sync using (film_id) where histogram_fetched_at is not null
        """,
        {"cohort": cohort_id},
    ).fetchone()
    assert row is not None
    return int(row[0])


def store_histograms(connection: psycopg.Connection, batch: Sequence[FetchedHistogram]) -> int:
    """Store a batch in one transaction; returns how many films' counts were new or had changed.

    A look that may be repeated with more luck is not remembered as one.
    """
    rows = [
        {
            "film_id": fetched.film_id,
            **dict(zip(_COUNT_COLUMNS, fetched.histogram.counts, strict=True)),
            "stated_ratings": fetched.histogram.ratings,
            "stated_average": fetched.histogram.average,
            "fans": fetched.histogram.fans,
        }
        for fetched in batch
        if fetched.histogram is not None
    ]
    columns = [*_COUNT_COLUMNS, "stated_ratings", "stated_average", "fans"]
    types = [*(f"{name} bigint" for name in _COUNT_COLUMNS), "stated_ratings bigint",
             "stated_average numeric(4, 2)", "fans text"]  # fmt: skip
    looked = [f.film_id for f in batch if f.error is None or not f.error.retriable]
    with connection.transaction():
        lock_films(connection)  # no film may be merged away meanwhile
        changed = connection.execute(
            f"""
            insert into raw.film_histograms as known (film_id, source, {", ".join(columns)})
            select film_id, 'letterboxd', {", ".join(columns)}
            from jsonb_to_recordset(%s) as new (film_id bigint, {", ".join(types)})
            where exists (select from raw.films where films.film_id = new.film_id)
              and not exists (
                  select from raw.film_histograms as same
                  where same.film_id = new.film_id and same.source = 'letterboxd'
                    and ({", ".join(f"same.{name}" for name in columns)})
                        is not distinct from ({", ".join(f"new.{name}" for name in columns)})
              )
            order by film_id
            on conflict (film_id, source) do update
            set {", ".join(f"{name} = excluded.{name}" for name in columns)}, fetched_at = now()
            """,
            [_jsonb(rows)],
        ).rowcount
        connection.execute(
            "update ops.film_metadata_sync set histogram_fetched_at = now() where film_id = any(%s)", [looked]
        )
        resolve_failures(connection, "histogram", film_ids=[f.film_id for f in batch if f.error is None])
    return changed


def preview_histograms(
    connection: psycopg.Connection, film_ids: Sequence[int], limit: int = 10
) -> tuple[HistogramPreview, ...]:
    """Those of these films that most people rated."""
    with connection.cursor(row_factory=class_row(HistogramPreview)) as cursor:
        return tuple(
            cursor.execute(
                """
                select title, release_year, film_histograms.stated_ratings, film_histograms.stated_average
                from raw.film_histograms join raw.films using (film_id)
                where film_id = any(%s) and source = 'letterboxd'
                order by film_histograms.stated_ratings desc nulls last, film_id limit %s
                """,
                [list(film_ids), limit],
            ).fetchall()
        )


def _jsonb(rows: list[dict[str, Any]]) -> Jsonb:
    return Jsonb(rows, dumps=lambda value: json.dumps(value, default=str))
