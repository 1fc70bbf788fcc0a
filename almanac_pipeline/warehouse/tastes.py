"""Who is like whom: members of a cohort beside each other, two members, two cohorts.

Joins names to the marts, which hold none, and reads what two members say of single films from their
present ratings: for the operator's own eyes, never for a file. Writes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import psycopg
from psycopg.rows import class_row, dict_row
from psycopg.sql import SQL, Composable

from almanac_pipeline.errors import NotFoundError

Contrast = Literal["shared", "apart", "unseen"]
"""What both love; what they disagree on most; what the first loves and the second does not know."""


@dataclass(frozen=True, slots=True)
class MemberTaste:
    """How a member uses the stars, and with whom they agree. None: it cannot be said."""

    username: str
    ratings_count: int
    likes_count: int
    average_rating: float | None
    strictness: float | None
    """Stars that they give above the circle; strict members are below 0."""
    spread: float | None
    """How widely they spread their stars; 1 is usual."""
    consistency: float | None
    """How little their stars scatter; 1 is usual, more is steadier."""
    most_alike: str | None
    most_similarity: float | None
    least_alike: str | None
    least_similarity: float | None
    members_count: int
    """How many there are, shown or not."""


@dataclass(frozen=True, slots=True)
class PairTaste:
    """How alike two members rate the films that both rated; None where nothing can be said."""

    first: str
    second: str
    overlap: int
    similarity: float | None
    """Pearson's correlation, shrunk for small overlap."""
    pearson_low: float | None
    pearson_high: float | None
    residual_similarity: float | None
    """The same of what strictness and the crowd do not explain."""
    star_gap: float | None
    equal_share: float | None


@dataclass(frozen=True, slots=True)
class ComparedFilm:
    """A film as two members, or two cohorts, see it: stars, and for cohorts the place."""

    title: str
    release_year: int | None
    first: float | None
    second: float | None
    first_rank: int | None
    second_rank: int | None


def member_tastes(
    connection: psycopg.Connection,
    cohort: str,
    *,
    usernames: list[str] | None = None,
    limit: int | None = None,
) -> list[MemberTaste]:
    """The members of a cohort, or those named, with most ratings first."""
    query = SQL("""
        select users.username, profiles.ratings_count, profiles.likes_count, profiles.average_rating,
            profiles.strictness, profiles.spread, profiles.consistency,
            most.username as most_alike, profiles.most_agreed_similarity as most_similarity,
            least.username as least_alike, profiles.least_agreed_similarity as least_similarity,
            count(*) over () as members_count
        from almanac.member_profiles as profiles
        join raw.users as users using (user_id)
        left join raw.users as most on most.user_id = profiles.most_agreed_user_id
        left join raw.users as least on least.user_id = profiles.least_agreed_user_id
        where profiles.cohort = %(cohort)s {named}
        order by profiles.ratings_count desc, users.username
        limit %(limit)s
    """).format(named=SQL("and users.username = any(%(usernames)s)") if usernames else SQL(""))
    with connection.cursor(row_factory=class_row(MemberTaste)) as cursor:
        parameters = {"cohort": cohort, "usernames": usernames, "limit": limit}
        return cursor.execute(query, parameters).fetchall()


_PAIRS = SQL("""
    select a.username as first, b.username as second, overlap, similarity, pearson_low, pearson_high,
        residual_similarity, star_gap, equal_share
    from almanac.taste_similarity as pairs
    join raw.users as a on a.user_id = pairs.user_a
    join raw.users as b on b.user_id = pairs.user_b
    where cohort = %(cohort)s and {condition}
    order by {order}, overlap desc, a.username, b.username
    limit %(limit)s
""")


def pairs_by_likeness(
    connection: psycopg.Connection, cohort: str, *, most: bool, limit: int
) -> list[PairTaste]:
    """The pairs of a cohort that are most or least alike, of those that can be compared."""
    order = SQL("similarity desc") if most else SQL("similarity")
    return _pairs(connection, SQL("similarity is not null"), order, cohort=cohort, limit=limit)


def pairs_of(connection: psycopg.Connection, cohort: str, username: str) -> list[PairTaste]:
    """A member with each of the others, most alike first; the member stands on either side."""
    return _pairs(
        connection,
        SQL("%(username)s in (a.username, b.username)"),
        SQL("similarity desc nulls last"),
        cohort=cohort,
        username=username,
        limit=None,
    )


def pair(connection: psycopg.Connection, cohort: str, first: str, second: str) -> PairTaste | None:
    """Two members; None if one of them has rated nothing."""
    found = _pairs(
        connection,
        SQL("((a.username, b.username) in ((%(x)s, %(y)s), (%(y)s, %(x)s)))"),
        SQL("similarity"),
        cohort=cohort,
        x=first,
        y=second,
        limit=1,
    )
    return found[0] if found else None


def _pairs(
    connection: psycopg.Connection, condition: Composable, order: Composable, **parameters: Any
) -> list[PairTaste]:
    with connection.cursor(row_factory=class_row(PairTaste)) as cursor:
        return cursor.execute(_PAIRS.format(condition=condition, order=order), parameters).fetchall()


def common_cohorts(connection: psycopg.Connection, first: str, second: str) -> list[str]:
    """Slugs of the cohorts that both are current members of."""
    rows = connection.execute(
        """
        select slug from raw.cohorts
        join raw.cohort_members as members using (cohort_id) join raw.users using (user_id)
        where members.until is null and username = any(%s)
        group by slug having count(distinct user_id) = %s order by slug
        """,
        [[first, second], len({first, second})],
    )
    return [slug for (slug,) in rows]


# {first} and {second} are relations with film_id, stars and rank.
_COMPARED = SQL("""
    with first as ({first}), second as ({second})
    select films.title, films.release_year, first.stars as first, second.stars as second,
        first.rank as first_rank, second.rank as second_rank
    from first {join} second using (film_id)
    join raw.films as films using (film_id)
    where {condition}
    order by {order}, films.title, films.film_id
    limit %(limit)s
""")
_MEMBER = SQL("""
    select film_id, rating::float8 as stars, null::integer as rank
    from raw.ratings join raw.users using (user_id)
    where username = {name} and removed_at is null
""")
_COHORT = SQL("""
    select film_id, estimate as stars, rank
    from almanac.film_rankings
    where cohort = {name} and strategy = 'almanac'
""")


def films_of_members(
    connection: psycopg.Connection, first: str, second: str, contrast: Contrast, *, limit: int
) -> list[ComparedFilm]:
    """Films of two members, by their present ratings."""
    apart = SQL("abs(first.stars - second.stars)")
    parts: dict[Contrast, tuple[Composable, Composable, Composable]] = {
        "shared": (
            SQL("join"),
            SQL("first.stars >= 4 and second.stars >= 4"),
            SQL("first.stars + second.stars desc"),
        ),
        "apart": (SQL("join"), apart + SQL(" >= 1"), apart + SQL(" desc")),
        "unseen": (
            SQL("left join"),
            SQL(
                "second.film_id is null and first.stars >= 4 and not exists ("
                " select from raw.diary_entries as entries join raw.users using (user_id)"
                " where username = %(second)s and entries.film_id = films.film_id)"
            ),
            SQL("first.stars desc"),
        ),
    }
    return _compared(connection, _MEMBER, first, second, *parts[contrast], limit=limit)


def films_of_cohorts(
    connection: psycopg.Connection, first: str, second: str, contrast: Contrast, *, limit: int
) -> list[ComparedFilm]:
    """Films of two cohorts: by where they stand in each, as a circle's stars are on its own scale.

    What both hold high or apart is told by places among the films that have a place in both.
    """
    places = (SQL("rank() over (order by first.rank)"), SQL("rank() over (order by second.rank)"))
    both = SQL("first.rank is not null and second.rank is not null")
    parts: dict[Contrast, tuple[Composable, Composable, Composable]] = {
        "shared": (SQL("join"), both, SQL("greatest({}, {})").format(*places)),
        "apart": (SQL("join"), both, SQL("abs({} - {}) desc").format(*places)),
        "unseen": (
            SQL("left join"),
            SQL(
                "first.rank is not null and not exists ("
                " select from almanac.cohort_film_stats as stats"
                " where stats.cohort = %(second)s and stats.film_id = films.film_id)"
            ),
            SQL("first.rank"),
        ),
    }
    return _compared(connection, _COHORT, first, second, *parts[contrast], limit=limit)


def _compared(
    connection: psycopg.Connection,
    relation: SQL,
    first: str,
    second: str,
    join: Composable,
    condition: Composable,
    order: Composable,
    *,
    limit: int,
) -> list[ComparedFilm]:
    query = _COMPARED.format(
        first=relation.format(name=SQL("%(first)s")),
        second=relation.format(name=SQL("%(second)s")),
        join=join,
        condition=condition,
        order=order,
    )
    with connection.cursor(row_factory=class_row(ComparedFilm)) as cursor:
        parameters = {"first": first, "second": second, "limit": limit}
        return cursor.execute(query, parameters, prepare=False).fetchall()


@dataclass(frozen=True, slots=True)
class CohortsCompared:
    """Two cohorts in numbers: of each, and of the films that have a place in both."""

    members: tuple[int, int]
    films: tuple[int, int]
    ratings: tuple[int, int]
    average_rating: tuple[float | None, float | None]
    """Of all ratings."""
    liked_share: tuple[float | None, float | None]
    """Hearts per watcher, over all films."""
    common_films_count: int
    pearson: float | None
    """Correlation of the estimates of common films; None without variance."""
    spearman: float | None
    """Correlation of their places."""


def compare_cohorts(connection: psycopg.Connection, first: str, second: str) -> CohortsCompared:
    """Two published cohorts in numbers.

    Raises:
        NotFoundError: one of them is not published.
    """
    sides = [_cohort_numbers(connection, slug) for slug in (first, second)]
    query = """
        with common as (
            select a.estimate as first, b.estimate as second,
                rank() over (order by a.rank) as first_rank, rank() over (order by b.rank) as second_rank
            from almanac.film_rankings as a
            join almanac.film_rankings as b using (strategy, film_id)
            where a.strategy = 'almanac' and a.cohort = %s and b.cohort = %s
                and a.rank is not null and b.rank is not null
        )
        select count(*) as common_films_count, corr(first, second) as pearson,
            corr(first_rank, second_rank) as spearman
        from common
    """
    with connection.cursor(row_factory=dict_row) as cursor:
        common = cursor.execute(query, [first, second]).fetchone() or {}
    numbers: dict[str, Any] = {name: (sides[0][name], sides[1][name]) for name in sides[0]}
    return CohortsCompared(**numbers, **common)


def _cohort_numbers(connection: psycopg.Connection, cohort: str) -> dict[str, Any]:
    query = """
        select freshness.members_count as members, count(*) as films, sum(raters) as ratings,
            (sum(rating_sum) / nullif(sum(raters), 0))::float8 as average_rating,
            sum(liked_count)::float8 / nullif(sum(watchers), 0) as liked_share
        from almanac.cohort_freshness as freshness
        join almanac.cohort_film_stats as stats using (cohort)
        where cohort = %s
        group by freshness.members_count
    """
    with connection.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(query, [cohort]).fetchone()
    if row is None:
        raise NotFoundError(f"{cohort} has no films: `almanac cohort build {cohort}` runs the chain.")
    return row
