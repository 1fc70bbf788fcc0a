"""What a film has several of: genres, countries, people. Stores whole sets; decides nothing about them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

import psycopg
from psycopg.rows import class_row

from almanac_pipeline.tmdb.titles import Role, TmdbCountry
from almanac_pipeline.warehouse.copying import as_jsonb
from almanac_pipeline.warehouse.films import lock_films
from almanac_pipeline.warehouse.upkeep import COHORT_FILMS


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
class UnidentifiedDirector:
    """A director whom only a film's page names, by the link to their own page."""

    person_id: int
    slug: str


def store_sets(connection: psycopg.Connection, sets: dict[int, FilmSets]) -> None:
    """Replace the sets that are given, by film. Part of the caller's transaction, which holds the films."""
    _store_genres(connection, sets)
    _store_countries(connection, sets)
    _store_people(connection, sets)


def _store_genres(connection: psycopg.Connection, sets: dict[int, FilmSets]) -> None:
    rows = [
        {"film_id": film_id, "name": name}
        for film_id, found in sets.items()
        for name in dict.fromkeys(found.genres or ())
    ]
    replaced = [film_id for film_id, found in sets.items() if found.genres is not None]
    parameters = {"rows": as_jsonb(rows), "films": replaced}
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
    parameters = {"rows": as_jsonb(rows), "films": replaced}
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
        [as_jsonb(rows)],
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


def unidentified_directors(connection: psycopg.Connection, cohort_id: int) -> list[UnidentifiedDirector]:
    """The cohort's directors whom no TMDB title has named, though TMDB was asked, those seen by most first.

    Whose page was read lately is left out.
    """
    with connection.cursor(row_factory=class_row(UnidentifiedDirector)) as cursor:
        return cursor.execute(
            f"""
            select person_id, letterboxd_slug as slug
            from ({COHORT_FILMS}) as seen
            join ops.film_metadata_sync as sync using (film_id)
            join raw.film_people as part using (film_id)
            join raw.people as person using (person_id)
            where role = 'director' and tmdb_person_id is null and letterboxd_slug is not null
              and (tmdb_fetched_at is not null or status in ('ambiguous', 'not_found', 'overridden'))
              and coalesce(person.page_fetched_at < now() - (
                  select max_age from ops.age_limits where subject = 'gap'
              ), true)
            group by person_id, letterboxd_slug
            order by sum(watchers_count) desc, person_id
            """,
            {"cohort": cohort_id},
        ).fetchall()


def identify_person(connection: psycopg.Connection, person_id: int, tmdb_person_id: int | None) -> None:
    """Keep what a person's page says: their TMDB id, or that it names none. One transaction.

    Who is known under that id already, as an actor perhaps, is the same person and takes over their films.
    """
    parameters: dict[str, int | str | None] = {"person": person_id, "tmdb": tmdb_person_id}
    with connection.transaction():
        lock_films(connection)
        row = connection.execute(
            "select person_id from raw.people where tmdb_person_id = %(tmdb)s and person_id <> %(person)s",
            parameters,
        ).fetchone()
        if row is None:
            connection.execute(
                """
                update raw.people
                set tmdb_person_id = coalesce(tmdb_person_id, %(tmdb)s), page_fetched_at = now(),
                    updated_at = now()
                where person_id = %(person)s
                """,
                parameters,
            )
            return
        parameters["same"] = row[0]
        for statement in (
            """
            insert into raw.film_people (film_id, person_id, role, credit_order, character_name)
            select film_id, %(same)s, role, credit_order, character_name
            from raw.film_people where person_id = %(person)s
            on conflict (film_id, person_id, role) do nothing
            """,
            "delete from raw.film_people where person_id = %(person)s",
        ):
            connection.execute(statement, parameters)
        # Links are unique: it is free only once the other row is gone.
        [link] = connection.execute(
            "delete from raw.people where person_id = %(person)s returning letterboxd_slug", parameters
        ).fetchone() or [None]
        connection.execute(
            """
            update raw.people set letterboxd_slug = coalesce(letterboxd_slug, %(link)s), updated_at = now()
            where person_id = %(same)s
            """,
            parameters | {"link": link},
        )
