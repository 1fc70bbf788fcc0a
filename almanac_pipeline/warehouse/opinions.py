"""What members think of films: comparing a page with what is stored, and merging what a source says.

`merge_staged` (pages), `merge_favorites` (a profile) and `merge_opinions` (exports, feeds) are three
doors to one merge: one transaction, which writes a row only where something differs, takes something
away only out of a complete snapshot, and believes the newer of two sources. docs/precedence.md has
the rules.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

import psycopg
from psycopg.rows import class_row

from almanac_pipeline.errors import ForgottenError, ShrunkenError
from almanac_pipeline.sources.records import FilmItem
from almanac_pipeline.warehouse import staging
from almanac_pipeline.warehouse.copying import copy_rows
from almanac_pipeline.warehouse.films import (
    FilmKey,
    hold_films,
    known_films,
    open_given,
    resolve_incoming,
)
from almanac_pipeline.warehouse.members import mark_seen
from almanac_pipeline.warehouse.runs import resolve_failures
from almanac_pipeline.warehouse.staging import TOTAL_TOLERANCE, GridSubject, Subject

Part = Literal["rated", "likes", "likes_unrated", "favorites"]
"""Which of a member's opinions a page speaks of."""

SourceName = Literal["export", "api", "pages", "rss"]

# More items than any page shows.
PAGE_ITEMS_LIMIT = 1_000

# The stored rows that a complete snapshot of a part should show again.
_STORED = {
    "rated": "old.rating is not null",
    "likes": "old.liked",
    "likes_unrated": "old.liked and old.rating is null",
    "favorites": "old.favorite",
}
# Whether a stored row already says what an item of a newest-first page says.
_KNOWN = {"rated": "old.rating is not distinct from item.rating", "likes": "old.liked"}
_SAME = {"rated": f"{_KNOWN['rated']} and old.liked = item.liked", "likes": "old.liked"}
# The columns of an opinion, and which reading tells all of them.
_ASPECTS: dict[str, Subject] = {"rating": "ratings", "liked": "likes", "favorite": "profile"}
# Which reading tells a part as a whole.
_SUBJECTS: dict[Part, Subject] = {
    "rated": "ratings",
    "likes": "likes",
    "likes_unrated": "likes",
    "favorites": "profile",
}
# How the time of a rating is known, by who told of the rating.
_DATED_BY = {"export": "export", "api": "api", "rss": "feed", "pages": "observed"}


@dataclass(frozen=True, slots=True)
class Opinion:
    """What a source says of one film. None: it does not say."""

    film: FilmKey
    rating: float | None = None
    """Stars in half steps, 0.5 to 5."""
    liked: bool | None = None
    favorite: bool | None = None
    rated_at: datetime | None = None
    """When the rating was given, where the source knows."""
    as_of: datetime | None = None
    """When the source said so, if not at the time of the whole snapshot: the entry of a feed."""


@dataclass(frozen=True, slots=True)
class Changes:
    """How many opinions a merge changed, by kind of event."""

    added: int = 0
    changed: int = 0
    removed: int = 0
    restored: int = 0
    new_films: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return self.added + self.changed + self.removed + self.restored

    def __add__(self, other: Changes) -> Changes:
        return Changes(
            self.added + other.added,
            self.changed + other.changed,
            self.removed + other.removed,
            self.restored + other.restored,
            self.new_films + other.new_films,
        )


@dataclass(frozen=True, slots=True)
class PageComparison:
    """A page of a newest-first grid against what is stored."""

    known: int
    """Items whose rating (or like) is stored already."""
    same: int
    """Items of which nothing at all is news, not even an id of the film."""
    ends_known: bool
    """Whether the last item is one of the known. One before the last may have been rated anew, alike."""


@dataclass(frozen=True, slots=True)
class LatestChange:
    """A change of a run, for people to look at. It goes into Dagster's log, which keeps no names."""

    user_id: int
    title: str
    release_year: int | None
    kind: str
    old_rating: Decimal | None
    new_rating: Decimal | None
    old_liked: bool | None
    new_liked: bool | None
    old_favorite: bool | None
    new_favorite: bool | None
    seen_at: datetime


def count_stored(connection: psycopg.Connection, user_id: int, part: Part) -> int:
    """How many of the member's stored opinions belong to the part."""
    row = connection.execute(
        f"""
        select count(*) from raw.ratings as old
        where old.user_id = %s and old.removed_at is null and {_STORED[part]}
        """,
        [user_id],
    ).fetchone()
    assert row is not None
    return int(row[0])


def count_after_merge(
    connection: psycopg.Connection, user_id: int, subject: GridSubject, part: Literal["rated", "likes"]
) -> int:
    """How many opinions of the part will be stored once what is staged is merged."""
    row = connection.execute(
        f"""
        select count(*) from ops.staged_items as item
        left join raw.film_aliases as u on u.kind = 'uid' and u.value = item.uid
        left join raw.film_aliases as l on l.kind = 'lid' and l.value = item.lid
        left join raw.film_aliases as s on s.kind = 'slug' and s.value = item.slug
        left join raw.ratings as old on old.user_id = item.user_id
             and old.film_id = coalesce(u.film_id, l.film_id, s.film_id)
        where item.user_id = %s and item.subject = %s
          and (old.film_id is null or old.removed_at is not null or not ({_STORED[part]}))
        """,
        [user_id, subject],
    ).fetchone()
    assert row is not None
    return count_stored(connection, user_id, part) + int(row[0])


def compare_hearts(connection: psycopg.Connection, user_id: int) -> tuple[int, int]:
    """(How many films on the staged pages of ratings are stored as liked, how many of these show a heart)."""
    row = connection.execute(
        """
        select count(distinct old.film_id), count(distinct old.film_id) filter (where item.liked)
        from ops.staged_items as item
        left join raw.film_aliases as u on u.kind = 'uid' and u.value = item.uid
        left join raw.film_aliases as l on l.kind = 'lid' and l.value = item.lid
        left join raw.film_aliases as s on s.kind = 'slug' and s.value = item.slug
        join raw.ratings as old on old.user_id = item.user_id
             and old.film_id = coalesce(u.film_id, l.film_id, s.film_id)
        where item.user_id = %s and item.subject = 'ratings' and old.removed_at is null and old.liked
        """,
        [user_id],
    ).fetchone()
    assert row is not None
    return int(row[0]), int(row[1])


def compare_page(
    connection: psycopg.Connection, user_id: int, part: Literal["rated", "likes"], items: Sequence[FilmItem]
) -> PageComparison:
    """How much of a newest-first page is stored already. Reads only."""
    row = connection.execute(
        f"""
        select count(*) filter (where old.removed_at is null and {_KNOWN[part]}),
               count(*) filter (
                   where old.removed_at is null and {_SAME[part]}
                     and num_nonnulls(item.uid, item.lid, item.slug)
                         = num_nonnulls(u.film_id, l.film_id, s.film_id)
                     and coalesce(u.film_id = s.film_id, true) and coalesce(l.film_id = s.film_id, true)
               ),
               max(position) filter (where old.removed_at is null and {_KNOWN[part]})
        from unnest(%s::text[], %s::text[], %s::text[], %s::numeric[], %s::boolean[])
            with ordinality as item (slug, uid, lid, rating, liked, position)
        left join raw.film_aliases as u on u.kind = 'uid' and u.value = item.uid
        left join raw.film_aliases as l on l.kind = 'lid' and l.value = item.lid
        left join raw.film_aliases as s on s.kind = 'slug' and s.value = item.slug
        join raw.ratings as old on old.user_id = %s
             and old.film_id = coalesce(u.film_id, l.film_id, s.film_id)
        """,
        [
            [item.slug for item in items],
            [item.uid for item in items],
            [item.lid for item in items],
            [item.rating for item in items],
            [item.liked for item in items],
            user_id,
        ],
    ).fetchone()
    assert row is not None
    return PageComparison(int(row[0]), int(row[1]), ends_known=bool(items) and row[2] == len(items))


def merge_staged(
    connection: psycopg.Connection,
    user_id: int,
    subject: GridSubject,
    part: Literal["rated", "likes", "likes_unrated"],
    *,
    complete: bool,
    observed: bool,
    source: str,
    run_id: int,
    stated_total: int | None,
    clears_likes: bool = True,
) -> Changes:
    """Merge what is staged for the member, in one transaction, and end the checkpoint.

    `complete`: everything of the part is staged, so that what is missing is gone. `observed`: an
    earlier read saw everything, so that a new rating was given between then and now. Without
    `clears_likes`, a rated film that shows no heart keeps the like that is stored.
    """
    is_rated = part == "rated"
    liked = "liked" if clears_likes else "nullif(liked, false) as liked"
    with connection.transaction():
        # A page may have been read just before something on it changed: it tells of its beginning.
        state = staging.read_state(connection, user_id, subject)
        as_of = state.pages_started_at or _now(connection)
        changes = _merge_given(
            connection,
            user_id,
            f"""
            select page_number * {PAGE_ITEMS_LIMIT} + position as position,
                   slug, title, release_year, uid, lid, null::bigint as film_id,
                   {f"rating, {liked}" if is_rated else "null::numeric(2, 1) as rating, true as liked"},
                   null::boolean as favorite, null::timestamptz as rated_at, %(as_of)s::timestamptz as as_of
            from ops.staged_items where user_id = %(user)s and subject = '{subject}'
            """,
            {part} if complete else set(),
            as_of,
            source,
            run_id,
            observed=observed,
        )
        staging.discard_staged(connection, user_id, subject)
        surplus = None
        if complete:
            # Only the whole of the ratings or likes is counted again by a newest-first page.
            is_whole = part != "likes_unrated" and stated_total is not None
            surplus = (stated_total or 0) - count_stored(connection, user_id, part) if is_whole else 0
        is_of_longer_list = (state.stated_surplus if surplus is None else surplus) > TOTAL_TOLERANCE
        staging.mark_success(
            connection,
            user_id,
            subject,
            complete=complete,
            stated_surplus=surplus,
            known_as_of=as_of,
            source=source,
        )
        mark_seen(
            connection,
            user_id,
            ratings_count=stated_total if is_rated and not is_of_longer_list else None,
            likes_count=stated_total if part == "likes" else None,
        )
        resolve_failures(connection, subject, user_id=user_id)
    return changes


def merge_favorites(
    connection: psycopg.Connection, user_id: int, items: Sequence[FilmItem], *, source: str, run_id: int
) -> Changes:
    """Merge the favourites of a member's profile, all of which are given. One transaction."""
    films = [FilmKey(item.slug, item.uid, item.lid, item.title, item.release_year) for item in items]
    with connection.transaction():
        as_of = _now(connection)
        _fill_given(connection, [Opinion(film, favorite=True) for film in films], as_of)
        changes = _merge_given(connection, user_id, "table given", {"favorites"}, as_of, source, run_id)
        staging.mark_success(connection, user_id, "profile", complete=True, source=source)
        mark_seen(connection, user_id)
        resolve_failures(connection, "profile", user_id=user_id)
    return changes


def merge_opinions(
    connection: psycopg.Connection,
    user_id: int,
    said: Sequence[Opinion],
    *,
    complete_parts: frozenset[Part],
    as_of: datetime,
    source: SourceName,
    run_id: int,
    shrink_guard_share: float,
) -> Changes:
    """Merge what an export or a feed says of one member, in one transaction.

    Of `complete_parts` everything is given, so that what is missing is gone, and they count as
    fully read at `as_of`. What is older than what is known changes no opinion.

    Raises:
        ShrunkenError: a complete part holds less than `shrink_guard_share` of what is stored:
            nothing was changed, and the part is marked as suspicious. A caller in a transaction
            of its own marks it again, with `staging.mark_suspicious`.
        ForgottenError: there is no such member any more.
    """
    as_of = min(as_of, _now(connection))  # a clock that is ahead must not outvote what comes next
    _require_plausible(connection, user_id, said, complete_parts, as_of, source, shrink_guard_share)
    with connection.transaction():
        _fill_given(connection, said, as_of)
        changes = _merge_given(connection, user_id, "table given", complete_parts, as_of, source, run_id)
        for part in sorted(complete_parts):
            staging.mark_success(
                connection, user_id, _SUBJECTS[part], complete=True, read_at=as_of, known_as_of=as_of,
                source=source, stated_surplus=0,
            )  # fmt: skip
    return changes


def record_unchanged(connection: psycopg.Connection, user_id: int, subject: GridSubject) -> None:
    """Note a successful look that found no news: nothing in raw changes."""
    with connection.transaction():
        staging.mark_success(connection, user_id, subject, complete=False)
        mark_seen(connection, user_id)
        resolve_failures(connection, subject, user_id=user_id)


def _now(connection: psycopg.Connection) -> datetime:
    row = connection.execute("select now()").fetchone()
    assert row is not None
    now: datetime = row[0]
    return now


def _fill_given(connection: psycopg.Connection, said: Sequence[Opinion], as_of: datetime) -> None:
    now = _now(connection)
    open_given(connection)
    copy_rows(
        connection,
        "given (position, slug, title, release_year, uid, lid, rating, liked, favorite, rated_at, as_of)",
        (
            (
                n, o.film.slug, o.film.title, o.film.release_year, o.film.uid, o.film.lid,
                o.rating, o.liked, o.favorite, o.rated_at, min(o.as_of, now) if o.as_of else as_of,
            )
            for n, o in enumerate(said)
        ),
    )  # fmt: skip


def _require_plausible(
    connection: psycopg.Connection,
    user_id: int,
    said: Sequence[Opinion],
    complete_parts: Collection[Part],
    as_of: datetime,
    source: str,
    shrink_guard_share: float,
) -> None:
    given_by_part: dict[Part, int] = {
        "rated": sum(opinion.rating is not None for opinion in said),
        "likes": sum(opinion.liked is True for opinion in said),
        "favorites": sum(opinion.favorite is True for opinion in said),
    }
    for part in _removable(connection, user_id, complete_parts, as_of, source):
        given, stored = given_by_part[part], count_stored(connection, user_id, part)
        if staging.is_shrunken(given, stored, shrink_guard_share, source):
            staging.mark_suspicious(connection, user_id, _SUBJECTS[part])
            raise ShrunkenError(
                f"Only {given} films came as {part} where {stored} are stored; none of these was changed."
                " If that is right, run once with a lower ALMANAC_SHRINK_GUARD_SHARE.",
                subject=_SUBJECTS[part],
            )


def _removable(
    connection: psycopg.Connection,
    user_id: int,
    complete_parts: Collection[Part],
    as_of: datetime,
    source: str,
) -> list[Part]:
    """The complete parts of which nothing later is known, so that what they lack is gone."""
    later = connection.execute(
        """
        select subject from ops.user_scrape_state
        where user_id = %s
          and (known_as_of, raw.source_rank(known_source)) > (%s::timestamptz, raw.source_rank(%s))
        """,
        [user_id, as_of, source],
    ).fetchall()
    return [part for part in sorted(complete_parts) if (_SUBJECTS[part],) not in later]


def _merge_given(
    connection: psycopg.Connection,
    user_id: int,
    given: str,
    complete_parts: Collection[Part],
    as_of: datetime,
    source: str,
    run_id: int,
    *,
    observed: bool = False,
) -> Changes:
    """Merge what the query `given` gives of the member, inside the caller's transaction.

    One statement finds the films, compares and writes. Only where something is news of a film, or
    a film is given twice, all is taken into `incoming` first.
    """
    parameters = {
        "user": user_id,
        "as_of": as_of,
        "source": source,
        "run": run_id,
        "dated_by": _DATED_BY[source],
        "observed": observed,
    }
    is_feed = source == "rss"
    with connection.transaction() as attempt:
        hold_films(connection)
        removable = _lock_member(connection, user_id, complete_parts, as_of, source)
        statement = _merge_statement(removable, given=given, is_feed=is_feed)
        is_done, *counts = _one_row(connection, statement, parameters)
        if is_done:
            return Changes(*counts)
        # Who creates films waits for others who do: the savepoint gives the member back first.
        raise psycopg.Rollback(attempt)
    new_films = resolve_incoming(connection, given, parameters, source)
    removable = _lock_member(connection, user_id, complete_parts, as_of, source)
    [has_repeats] = _one_row(connection, "select count(*) > count(distinct film_id) from incoming")
    statement = _merge_statement(removable, has_repeats=has_repeats, is_feed=is_feed)
    _, *counts = _one_row(connection, statement, parameters)
    return Changes(*counts, new_films=new_films)


def _one_row(
    connection: psycopg.Connection, statement: str, parameters: Mapping[str, object] | None = None
) -> tuple[Any, ...]:
    # Planned anew for each member: a plan that was made for ten rows would be used for 100,000.
    row = connection.execute(statement, parameters, prepare=False).fetchone()
    assert row is not None
    return row


def _lock_member(
    connection: psycopg.Connection,
    user_id: int,
    complete_parts: Collection[Part],
    as_of: datetime,
    source: str,
) -> list[Part]:
    """Let nobody else merge or forget the member until the transaction ends; returns `_removable`.

    Raises:
        ForgottenError: there is no such member any more.
    """
    member = connection.execute(
        "select from raw.users where user_id = %s for no key update", [user_id]
    ).fetchone()
    if member is None:
        raise ForgottenError("The member was forgotten meanwhile; nothing was stored.")
    return _removable(connection, user_id, complete_parts, as_of, source)


def _merge_statement(
    removable: Collection[Part], *, given: str | None = None, has_repeats: bool = False, is_feed: bool
) -> str:
    """The one statement that compares what is said with what is stored, and writes what differs.

    What is said lies in `incoming`; or it is what the query `given` gives, and then nothing is written,
    as the first column of the answer says, unless all of its films are known and different.
    """
    # Which rows say something of an aspect; a complete snapshot does of every film.
    says = {aspect: f"said.{aspect} is not null" for aspect in _ASPECTS}
    if "likes_unrated" in removable:
        says["liked"] = "(said.liked is not null or old.rating is null)"
    for part, aspect in (("rated", "rating"), ("likes", "liked"), ("favorites", "favorite")):
        if part in removable:
            says[aspect] = "true"
    is_different = " or ".join(f"{a} is distinct from {_or_false('old_', a)}" for a in _ASPECTS)
    items, is_clear = "table incoming", "true"
    if given is not None:
        items = f"""
            select known_id as film_id, rating, liked, favorite, rated_at, as_of
            from ({known_films(given)}) as matched
            order by known_id
        """
        is_clear = "select count(*) = count(distinct film_id) from item"
    return f"""
        with item as (
            {items}
        ), gate as materialized (
            select ({is_clear}) as is_open
        ), said as (
            {_said(has_repeats=has_repeats, is_feed=is_feed)}
        ), old as (
            select * from raw.ratings where user_id = %(user)s
        ), known as (
            select {", ".join(_known(aspect) for aspect in _ASPECTS)}
            from ops.user_scrape_state where user_id = %(user)s
        ), verdict as (
            select coalesce(said.film_id, old.film_id) as film_id, old.film_id is null as is_new,
                   old.removed_at is not null as was_removed,
                   old.rated_at as old_rated_at, old.rated_at_source as old_rated_at_source,
                   old.removed_at, old.source as old_source,
                   said.rating as said_rating, said.rated_at as said_rated_at,
                   {", ".join(_sides(aspect, says[aspect]) for aspect in _ASPECTS)}
            from said
            -- Never by nested loops, however few rows are expected. Of what is not said nothing changes.
            full join old on old.film_id = said.film_id
            cross join known
            offset 0
        ), change as materialized (
            select film_id, is_new, old_rating, old_liked, old_favorite, rating, liked, favorite,
                   removed_at, old_source,
                   case when rating is distinct from old_rating
                        then case when rating is not null then
                            coalesce(said_rated_at, case when %(observed)s then %(as_of)s::timestamptz end)
                        end
                        when is_dated_now then said_rated_at else old_rated_at end as rated_at,
                   case when rating is distinct from old_rating or is_dated_now
                        then %(dated_by)s else old_rated_at_source end as rated_at_source,
                   case when not ({is_different}) then null
                        when rating is null and not liked and not favorite then 'removed'
                        when is_new then 'added'
                        when was_removed then 'restored'
                        else 'changed' end as kind,
                   greatest({", ".join(_told_as_of(aspect) for aspect in _ASPECTS)}) as as_of
            from verdict
            cross join lateral (
                -- The same rating, but now it is known when it was given.
                select said_rated_at is not null and rating = said_rating and rating = old_rating
                       and (old_rated_at is null or old_rated_at_source = 'observed') as is_dated_now
            ) as dating
            where (select is_open from gate) and ({is_different} or is_dated_now)
            order by film_id
        ), inserted as (
            insert into raw.ratings
                (user_id, film_id, rating, liked, favorite, rated_at, rated_at_source, source)
            select %(user)s, film_id, rating, liked, favorite, rated_at,
                   case when rated_at is not null then rated_at_source end, %(source)s
            from change where is_new
        ), updated as (
            -- Each row finds its own by the key; a join with the table could be planned for too few.
            insert into raw.ratings as stored
                (user_id, film_id, rating, liked, favorite, rated_at, rated_at_source, source, removed_at)
            select %(user)s, film_id, rating, liked, favorite, rated_at,
                   case when rated_at is not null then rated_at_source end,
                   case when kind is null then old_source else %(source)s end,
                   case when kind is null then removed_at when kind = 'removed' then now() end
            from change where not is_new
            on conflict (user_id, film_id) do update
            set rating = excluded.rating, liked = excluded.liked, favorite = excluded.favorite,
                rated_at = excluded.rated_at, rated_at_source = excluded.rated_at_source,
                source = excluded.source, updated_at = now(), removed_at = excluded.removed_at
        ), told as (
            insert into raw.rating_events
                (user_id, film_id, kind, old_rating, new_rating, old_liked, new_liked,
                 old_favorite, new_favorite, as_of, source, scrape_run_id)
            select %(user)s, film_id, kind, old_rating, rating, old_liked, liked,
                   old_favorite, favorite, as_of, %(source)s, %(run)s
            from change where kind is not null
        )
        select (select is_open from gate),
               count(*) filter (where kind = 'added'), count(*) filter (where kind = 'changed'),
               count(*) filter (where kind = 'removed'), count(*) filter (where kind = 'restored')
        from change
    """


def _said(*, has_repeats: bool, is_feed: bool) -> str:
    """One row per film of `item`: each aspect as the newest item has it that speaks of it."""
    if not has_repeats:
        values = {"rating": "rating", "rated_at": "rated_at", "liked": "liked", "favorite": "favorite"}
        moments = dict.fromkeys(_ASPECTS, "as_of")
    else:
        newest = "(array_agg({} order by as_of desc, position) filter (where {} is not null))[1]"
        values = {aspect: newest.format(aspect, aspect) for aspect in _ASPECTS}
        values["rated_at"] = newest.format("rated_at", "rating")
        moments = {aspect: newest.format("as_of", aspect) for aspect in _ASPECTS}
    if is_feed:
        # It tells of one viewing: what was not liked then may be liked by now.
        values["liked"] = f"nullif({values['liked']}, false)"
    columns = [f"{value} as {name}" for name, value in values.items()]
    columns += [f"{value} as {aspect}_as_of" for aspect, value in moments.items()]
    return f"select film_id, {', '.join(columns)} from item" + (" group by film_id" if has_repeats else "")


def _or_false(prefix: str, aspect: str) -> str:
    """The aspect's column; a like or favourite of which nothing is known is none."""
    return f"{prefix}{aspect}" if aspect == "rating" else f"coalesce({prefix}{aspect}, false)"


def _known(aspect: str) -> str:
    """Up to when, and by whom, all of the aspect is known."""
    only = f"filter (where subject = '{_ASPECTS[aspect]}')"
    return (
        f"coalesce(max(known_as_of) {only}, '-infinity') as {aspect}_as_of,"
        f" max(raw.source_rank(known_source)) {only} as {aspect}_rank"
    )


def _told_as_of(aspect: str) -> str:
    """When a changed aspect was told of."""
    return f"case when {aspect} is distinct from {_or_false('old_', aspect)} then {aspect}_as_of end"


def _sides(aspect: str, says: str) -> str:
    """What was thought, what is thought now, and when that was said.

    That is what is said, unless something as good or better, and later, says otherwise.
    """
    said, old = _or_false("said.", aspect), _or_false("old.", aspect)
    as_of = f"coalesce(said.{aspect}_as_of, %(as_of)s)"
    moment = f"({as_of}, raw.source_rank(%(source)s))"
    return f"""
        old.{aspect} as old_{aspect},
        {as_of} as {aspect}_as_of,
        case when {says} and {said} is distinct from {old}
              and {moment} >= (known.{aspect}_as_of, coalesce(known.{aspect}_rank, 0))
              and (old.film_id is null or not exists (
                  select from raw.rating_events as event
                  where event.user_id = old.user_id and event.film_id = old.film_id
                    and {_or_false("event.old_", aspect)} is distinct from {_or_false("event.new_", aspect)}
                    and (event.as_of, raw.source_rank(event.source)) > {moment}
              ))
             then {said} else {old} end as {aspect}
    """


def latest_changes(connection: psycopg.Connection, run_id: int, limit: int = 10) -> tuple[LatestChange, ...]:
    """The last changes that a run made."""
    with connection.cursor(row_factory=class_row(LatestChange)) as cursor:
        return tuple(
            cursor.execute(
                """
                select user_id, title, release_year, kind, old_rating, new_rating, old_liked, new_liked,
                       old_favorite, new_favorite, seen_at
                from raw.rating_events
                join raw.films using (film_id)
                where scrape_run_id = %s
                order by rating_event_id desc
                limit %s
                """,
                [run_id, limit],
            ).fetchall()
        )


def rating_counts(connection: psycopg.Connection, cohort_id: int) -> tuple[int, ...]:
    """How often the cohort's members gave half a star to five stars: ten counts, ascending."""
    rows = connection.execute(
        """
        select level, count(rating)
        from generate_series(1, 10) as level
        left join (
            select rating from raw.ratings
            join raw.cohort_members as member using (user_id)
            where member.cohort_id = %s and member.until is null and removed_at is null
        ) as given on given.rating * 2 = level
        group by level order by level
        """,
        [cohort_id],
    )
    return tuple(int(count) for _, count in rows)
