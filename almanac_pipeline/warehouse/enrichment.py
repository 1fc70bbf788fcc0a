"""What is known of films beyond their names: the film page, TMDB's answer, the global histogram.

A batch is stored in one transaction. Where TMDB and the page speak of the same thing TMDB is
taken, and raw.films.field_sources says who was. `combine` is that rule, a pure function.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import date
from typing import Any, Literal

import psycopg
from psycopg.rows import class_row

from almanac_pipeline.errors import AlmanacError, LongPauseError, NotFoundError, PermanentError
from almanac_pipeline.sources.records import FilmPage, MediaType
from almanac_pipeline.tmdb.matching import Candidate
from almanac_pipeline.tmdb.titles import Role, TmdbCountry, TmdbCredit, TmdbTitle
from almanac_pipeline.warehouse.copying import as_jsonb
from almanac_pipeline.warehouse.film_sets import Credit, FilmSets, store_sets
from almanac_pipeline.warehouse.films import (
    FilmKey,
    fill_given,
    lock_films,
    resolve_incoming,
)
from almanac_pipeline.warehouse.matches import (
    MatchedBy,
    Status,
    chosen_titles,
    forget_other_titles,
    forget_titles,
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
# What the database says to a film that no table can hold: the film's fault, not that of its batch.
UNSTORABLE = (psycopg.DataError, psycopg.IntegrityError, psycopg.errors.ProgramLimitExceeded)

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
    is_known_to_fail: bool = False
    """The last attempt did not give all that was asked for."""


@dataclass(frozen=True, slots=True)
class CachedTitle:
    """TMDB's answer as we hold it."""

    payload: str
    etag: str | None
    is_fresh: bool
    """TMDB's own Cache-Control still holds: no need to ask."""
    is_gone: bool
    """TMDB has said since that it has no such title."""


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
    was_held: bool = False
    """Whether we hold an answer, and no later one that there is none."""


@dataclass(frozen=True, slots=True)
class FetchedFilm:
    """What asking for a film gave: parts that are None were not asked for or failed."""

    film_id: int
    page: FilmPage | None = None
    has_lost_page: bool = False
    """The site says for the first time that it has no such page."""
    title: FetchedTitle | None = None
    error: AlmanacError | None = None
    matched_by: MatchedBy | None = None
    """Who said which title it is; None where nobody did or nobody was asked."""
    candidates: tuple[Candidate, ...] | None = None
    """What may be meant, where TMDB was searched and none could be taken."""

    @property
    def is_postponed(self) -> bool:
        """Whether the host wants to be left alone for a while: nothing has failed."""
        return isinstance(self.error, LongPauseError)

    @property
    def has_lost_title(self) -> bool:
        """Whether TMDB has dropped the title that it was, and a new search took no other."""
        return self.title is not None and self.title.status == 404 and self.candidates is not None

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
            select film_id, slug, uid,
                   -- One that was only guessed says nothing of the page.
                   case when not film.field_sources ? 'lid' then lid end as lid,
                   case when field_sources ->> 'title' is distinct from 'slug' then film.title end as title,
                   release_year, imdb_id, %(with_pages)s and is_page_due as needs_page,
                   tmdb_media_type, tmdb_id, tmdb_matched_by as matched_by,
                   sync.status = 'overridden' as is_chosen, sync.attempts > 0 as is_known_to_fail
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
          -- A title that TMDB does not have is no news.
          and not exists (
              select from raw.tmdb_payloads as answer
              where (answer.media_type, answer.tmdb_id) = (told.media_type, told.tmdb_id)
                and answer.status = 404
          )
          and (film.tmdb_id is null
               or sync.tmdb_matched_by in ('attributes', 'imdb', 'search')
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
            select payload::text as payload, etag, coalesce(fresh_until > now(), false) as is_fresh,
                   status = 404 as is_gone
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
        known_year = values.get("release_year") or current.release_year
        if known_year is None or sources.get("release_year") == "tmdb":
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


def store_films(connection: psycopg.Connection, batch: Sequence[FetchedFilm]) -> list[FetchedFilm]:
    """Store a batch of fetched films, failures included, in one transaction; returns what was stored.

    Of films that turn out to be one, that is the one of which most was read. A film that the database
    refuses is stored as one that failed, and the others as they are.
    """
    with connection.transaction():
        try:
            return _store(connection, batch)
        except UNSTORABLE as error:
            if len(batch) > 1:
                return [stored for film in batch for stored in store_films(connection, [film])]
            reason = f"No table can hold what is said of this film ({type(error).__name__}); it is left out."
            refused = FetchedFilm(batch[0].film_id, error=PermanentError(reason))
        return _store(connection, [refused])


def _store(connection: psycopg.Connection, batch: Sequence[FetchedFilm]) -> list[FetchedFilm]:
    with connection.transaction():
        films = _follow_identities(connection, batch)
        chosen = chosen_titles(connection, list(films))
        films |= {film_id: _as_chosen(films[film_id], key) for film_id, key in chosen.items()}
        keys = {film_id: _title_key(film) for film_id, film in films.items()}
        forget_other_titles(connection, {film_id: key for film_id, key in keys.items() if key is not None})
        forget_titles(connection, [film_id for film_id, film in films.items() if film.has_lost_title])
        _store_payloads(connection, [film.title for film in films.values() if film.title is not None])
        current = _current_fields(connection, list(films))
        combined = {
            film_id: combine(current[film_id], film.page, film.title.title if film.title else None)
            for film_id, film in films.items()
            if film.page is not None or film.title is not None
        }
        _store_fields(connection, {film_id: fields for film_id, (fields, _) in combined.items()})
        sets = {film_id: found for film_id, (_, found) in combined.items()}
        store_sets(connection, sets)
        _store_outcomes(connection, films)
        store_candidates(
            connection,
            {
                film_id: film.candidates or ()
                for film_id, film in films.items()
                if (film.error is None or film.candidates is not None) and film_id not in chosen
            },
        )
        resolve_failures(
            connection,
            "film",
            film_ids=[film_id for film_id, film in films.items() if film.error is None],
        )
    return list(films.values())


def _title_key(film: FetchedFilm) -> tuple[MediaType, int] | None:
    """Which title the film is by what was fetched, where that is for certain."""
    if film.title is not None and film.title.title is not None:
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
    fill_given(
        connection,
        [FilmKey(page.slug, page.uid, page.lid, page.title, page.release_year) for _, page in read],
        [film_id for film_id, _ in read],
    )
    resolve_incoming(connection)
    rows = connection.execute("select film_id from incoming order by position").fetchall()
    moved = {before: int(after) for (before, _), (after,) in zip(read, rows, strict=True)}
    films: dict[int, FetchedFilm] = {}
    # Of two films of the batch that turned out to be one, that of which more was read.
    for film in sorted(batch, key=_parts_count, reverse=True):
        film_id = moved.get(film.film_id, film.film_id)
        films.setdefault(film_id, replace(film, film_id=film_id))
    rows = connection.execute(
        "select film_id from raw.films where film_id = any(%s)", [list(films)]
    ).fetchall()
    return {film_id: films[film_id] for (film_id,) in rows}


def _parts_count(film: FetchedFilm) -> int:
    return (film.page is not None) + (film.title is not None and film.title.title is not None)


def _store_payloads(connection: psycopg.Connection, titles: Sequence[FetchedTitle]) -> None:
    # Within one statement a key may come once; two films may share a title.
    unique = {(title.media_type, title.tmdb_id): title for title in titles if title.was_asked}
    for (media_type, tmdb_id), title in sorted(unique.items()):
        connection.execute(
            _CONFIRM_PAYLOAD
            if title.status == 304
            else _MISS_PAYLOAD
            if title.status == 404
            else _PUT_PAYLOAD,
            {
                "type": media_type,
                "id": tmdb_id,
                "payload": title.payload,
                "etag": title.etag,
                "age": title.max_age_seconds or 0,
            },
        )


_PUT_PAYLOAD = """
    insert into raw.tmdb_payloads
        (media_type, tmdb_id, payload, status, etag, fetched_at, fresh_until, expires_at)
    values (%(type)s, %(id)s, %(payload)s::json, 200, %(etag)s, now(),
            now() + make_interval(secs => %(age)s), now() + interval '180 days')
    on conflict (media_type, tmdb_id) do update
    set payload = excluded.payload, status = excluded.status, etag = excluded.etag,
        fetched_at = excluded.fetched_at, fresh_until = excluded.fresh_until, expires_at = excluded.expires_at
"""
_CONFIRM_PAYLOAD = """
    update raw.tmdb_payloads
    set status = 200, etag = coalesce(%(etag)s, etag), fetched_at = now(),
        fresh_until = now() + make_interval(secs => %(age)s), expires_at = now() + interval '180 days'
    where media_type = %(type)s and tmdb_id = %(id)s and payload is not null
"""
# That a title is gone may be an error of theirs: the copy stays to its end, and is not used unasked.
_MISS_PAYLOAD = """
    insert into raw.tmdb_payloads as known (media_type, tmdb_id, status, fetched_at, fresh_until, expires_at)
    values (%(type)s, %(id)s, 404, now(), now(), now() + interval '180 days')
    on conflict (media_type, tmdb_id) do update
    set status = excluded.status, fresh_until = excluded.fresh_until,
        fetched_at = case when known.payload is null then excluded.fetched_at else known.fetched_at end,
        expires_at = case when known.payload is null then excluded.expires_at else known.expires_at end
"""


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
        [as_jsonb(rows)],
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


def _store_outcomes(connection: psycopg.Connection, films: dict[int, FetchedFilm]) -> None:
    """Move each film's state, and say when it is asked about next: after 1, 2, 4 … 30 days.

    What may go away soon is tried again at once at first; where the host asked for a pause, after that.
    A film that has its data, or a person's word, keeps its state when it cannot be refreshed.
    ops.refuse_status_move knows the allowed moves.
    """
    rows = [
        {
            "film_id": film_id,
            "outcome": _outcome(film),
            "has_page": film.page is not None,
            "has_title": film.title is not None and film.title.title is not None,
            "is_unknown": film.title is not None and film.title.status == 404,
            "has_lost_title": film.has_lost_title,
            "matched_by": film.matched_by,
            "page_says": _page_says(film.page),
            "histogram_url": film.page.histogram_url if film.page else None,
            "error": str(film.error) if film.error else None,
            "pause_seconds": film.error.pause_seconds if isinstance(film.error, LongPauseError) else None,
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
                when new.pause_seconds is not null then now() + make_interval(secs => new.pause_seconds)
                when moved.attempts = 0 then sync.next_attempt_at
                when moved.attempts < new.quick_attempts then now()
                else now() + least(30, power(2, moved.attempts - new.quick_attempts)) * interval '1 day' end,
            page_fetched_at = case when new.has_page then now() else sync.page_fetched_at end,
            histogram_url = case when new.has_page then coalesce(new.histogram_url, sync.histogram_url)
                                 else sync.histogram_url end,
            tmdb_fetched_at = case when new.has_title then now() else sync.tmdb_fetched_at end,
            tmdb_matched_by = case when sync.status = 'overridden' then 'person'
                                   when new.matched_by is not null then new.matched_by
                                   when new.has_lost_title then null
                                   when new.page_says = 'page' then new.page_says
                                   else coalesce(sync.tmdb_matched_by, new.page_says) end,
            last_error = new.error,
            updated_at = now()
        from jsonb_to_recordset(%(rows)s) as new (
            film_id bigint, outcome text, has_page boolean, has_title boolean, is_unknown boolean,
            has_lost_title boolean, matched_by text, page_says text, histogram_url text, error text,
            pause_seconds float8, quick_attempts integer
        )
        join ops.film_metadata_sync as before using (film_id)
        cross join lateral (
            select case when before.status = 'overridden' or new.outcome is null then before.status
                        when before.status = 'fetched' and new.error is not null
                            and (new.outcome = 'failed' or new.outcome = 'not_found' and not new.is_unknown)
                        then before.status
                        else new.outcome end as status
        ) as kept
        cross join lateral (
            select kept.status,
                   case when new.pause_seconds is not null then before.attempts
                        when new.outcome = 'fetched' and new.error is null then 0
                        when kept.status = before.status then before.attempts + 1
                        else 1 end as attempts
        ) as moved
        where sync.film_id = new.film_id
        """,
        {"rows": as_jsonb(rows)},
    )


def _page_says(page: FilmPage | None) -> MatchedBy | None:
    """By what the page names a TMDB title, which it also does where TMDB is not asked."""
    if page is None or page.tmdb_id is None:
        return None
    return "page" if page.is_tmdb_linked else "attributes"


def _outcome(film: FetchedFilm) -> Status | None:
    """What the film has come to; None where nobody could be asked. A page that fails is no more than that."""
    if film.title is not None and film.title.title is not None:
        return "fetched"
    if film.candidates:
        return "ambiguous"
    if film.is_postponed:
        return None
    if film.error is not None:
        return "not_found" if isinstance(film.error, NotFoundError) else "failed"
    return "fetched" if film.candidates is None else "not_found"
