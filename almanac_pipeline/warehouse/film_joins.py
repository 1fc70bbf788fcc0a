"""Joining two films that turn out to be one, and parting one that turns out to be two.

`films` decides which; here is what that means for everything that hangs on them. The transaction
holds FILM_LOCK alone, and the table `incoming` is open.
"""

from __future__ import annotations

from typing import Literal

import psycopg

Guess = Literal["name", "tmdb_id"]
"""By what a film of an export was joined to one without a LID, while no source has named both ids.

raw.films.field_sources keeps it under "lid" until one does.
"""

# Where two films are joined the one of the higher standing stays: its TMDB title is surer.
STANDING = """(
    select row(
        coalesce(status = 'overridden', false),
        coalesce(array_position(array['search', 'imdb', 'attributes', 'feed', 'page'], tmdb_matched_by), 0),
        page_fetched_at is not null, film.tmdb_id is not null
    )
    from raw.films as film left join ops.film_metadata_sync as sync using (film_id)
    where film.film_id = {}
)"""

# Who names films by their slugs or uids; exports and the API name them by their LIDs.
_SLUG_SOURCES = ["pages", "rss"]


def merge_films(connection: psycopg.Connection, keep: int, drop: int, guess: Guess | None = None) -> None:
    """Move all that hangs on the film `drop` to `keep`: they were one film under two names.

    Where a member has an opinion of both, having one beats having none, because a complete reading
    would have taken away both; of two ratings the newer stays, with its like unless a feed, which is
    silent of dislike, told of it. What `keep` does not know of itself it takes from `drop`.
    """
    members = [user_id for (user_id,) in connection.execute("select raw.raters(%s)", [drop])]
    ids = {"keep": keep, "drop": drop, "members": members, "guess": guess}
    for statement in (*_MERGED_OPINIONS, *_MERGED_VIEWINGS, *_MERGED_FILM):
        connection.execute(statement, ids)


_MERGED_OPINIONS = (
    """
    update raw.ratings as kept
    set rating = newer.rating, rated_at = newer.rated_at, rated_at_source = newer.rated_at_source,
        source = newer.source,
        liked = case when kept.rating is not null and other.rating is not null and newer.source <> 'rss'
                     then newer.liked else kept.liked or other.liked end,
        favorite = kept.favorite or other.favorite,
        removed_at = case when newer.rating is null and not (kept.liked or other.liked)
                               and not (kept.favorite or other.favorite)
                          then kept.removed_at end,
        updated_at = now()
    from raw.ratings as other
    left join lateral (
        select film_id from raw.rating_events as event
        where event.user_id = other.user_id and film_id in (%(keep)s, %(drop)s)
          and new_rating is not null and new_rating is distinct from old_rating
        order by as_of desc, raw.source_rank(event.source) desc, film_id = %(keep)s desc
        limit 1
    ) as newest on true
    join raw.ratings as mine on mine.user_id = other.user_id and mine.film_id = %(keep)s
    join raw.ratings as newer on newer.user_id = other.user_id and newer.film_id = case
        when other.rating is not null and (mine.rating is null or newest.film_id = other.film_id)
        then other.film_id else mine.film_id end
    where kept.user_id = other.user_id and other.user_id = any(%(members)s)
      and kept.film_id = %(keep)s and other.film_id = %(drop)s
    """,
    """
    update raw.rating_events set film_id = %(keep)s
    where film_id = %(drop)s and user_id = any(%(members)s)
    """,
    # The events of both tell what is thought now, unless the later one was not the one to believe.
    """
    insert into raw.rating_events
        (user_id, film_id, kind, old_rating, new_rating, old_liked, new_liked,
         old_favorite, new_favorite, as_of, source)
    select kept.user_id, kept.film_id, case when told.user_id is null then 'restored' else 'changed' end,
           told.rating, kept.rating, coalesce(told.liked, false), kept.liked,
           coalesce(told.favorite, false), kept.favorite,
           coalesce((select max(as_of) from raw.rating_events as event
                     where event.user_id = kept.user_id and event.film_id = kept.film_id), now()),
           kept.source
    from raw.ratings as kept
    join raw.ratings as other on other.user_id = kept.user_id and other.film_id = %(drop)s
    left join lateral (
        select * from raw.ratings_as_of(now()) as thought
        where thought.user_id = kept.user_id and thought.film_id = kept.film_id
        offset 0 -- so that it is looked up by its key
    ) as told on true
    where kept.film_id = %(keep)s and kept.user_id = any(%(members)s)
      and (told.rating, coalesce(told.liked, false), coalesce(told.favorite, false))
          is distinct from (kept.rating, kept.liked, kept.favorite)
    order by kept.user_id
    """,
    """
    delete from raw.ratings as other using raw.ratings as kept
    where other.film_id = %(drop)s and kept.film_id = %(keep)s and kept.user_id = other.user_id
      and kept.user_id = any(%(members)s)
    """,
    "update raw.ratings set film_id = %(keep)s where film_id = %(drop)s and user_id = any(%(members)s)",
)

_MERGED_VIEWINGS = (
    # One viewing of which two sources told, each of its own film. The nth of a day is the nth.
    """
    with entry as (
        select *, row_number() over (
                   partition by user_id, film_id, source, watched_on
                   order by removed_at is not null, diary_entry_id
               ) as nth
        from raw.diary_entries where film_id in (%(keep)s, %(drop)s) and watched_on is not null
    ), pair as (
        select distinct on (other.diary_entry_id)
               kept.diary_entry_id as kept_id, other.*
        from entry as kept
        join entry as other using (user_id, watched_on, nth)
        where kept.film_id = %(keep)s and other.film_id = %(drop)s and kept.source <> other.source
        order by other.diary_entry_id, kept.diary_entry_id
    ), gone as (
        delete from raw.diary_entries as entry using pair
        where entry.diary_entry_id = pair.diary_entry_id
    )
    update raw.diary_entries as kept
    set rating = coalesce(kept.rating, pair.rating), liked = coalesce(kept.liked, pair.liked),
        rewatch = kept.rewatch or pair.rewatch, has_review = kept.has_review or pair.has_review,
        logged_on = coalesce(kept.logged_on, pair.logged_on),
        removed_at = case when pair.removed_at is not null then kept.removed_at end,
        updated_at = now()
    from pair where kept.diary_entry_id = pair.kept_id
    """,
    "update raw.diary_entries set film_id = %(keep)s where film_id = %(drop)s",
    "update raw.list_entries set film_id = %(keep)s where film_id = %(drop)s",
    """
    update raw.watchlist_entries as kept
    set added_on = greatest(kept.added_on, other.added_on),
        source = case when kept.removed_at is not null and other.removed_at is null
                      then other.source else kept.source end,
        removed_at = case when kept.removed_at is not null and other.removed_at is not null
                          then greatest(kept.removed_at, other.removed_at) end
    from raw.watchlist_entries as other
    where other.film_id = %(drop)s and kept.film_id = %(keep)s and kept.user_id = other.user_id
    """,
    """
    delete from raw.watchlist_entries as other using raw.watchlist_entries as kept
    where other.film_id = %(drop)s and kept.film_id = %(keep)s and kept.user_id = other.user_id
    """,
    "update raw.watchlist_entries set film_id = %(keep)s where film_id = %(drop)s",
)

# The columns that `keep` takes from `drop` where it has none.
_FILLED = (
    "slug", "uid", "lid", "original_title", "release_year", "release_date", "runtime_minutes", "overview",
    "poster_url", "tmdb_media_type", "tmdb_id", "imdb_id", "tmdb_vote_average", "tmdb_vote_count",
    "stated_average", "stated_ratings",
)  # fmt: skip

_MERGED_FILM = (
    # The slug under which the site shows the film now is taken up as its new name further on.
    """
    delete from raw.film_aliases
    where film_id = %(drop)s and kind = 'slug' and value in (select slug from incoming)
    """,
    # What another title says of `drop` is not about this film; a person may have said that it has none.
    """
    select ops.forget_title(other.film_id)
    from raw.films as other, raw.films as film
    join ops.film_metadata_sync as sync using (film_id)
    where other.film_id = %(drop)s and film.film_id = %(keep)s
      and (film.tmdb_id is not null or sync.status = 'overridden')
      and (film.tmdb_media_type, film.tmdb_id) is distinct from (other.tmdb_media_type, other.tmdb_id)
    """,
    """
    delete from raw.film_aliases as other using raw.film_aliases as kept
    where other.film_id = %(drop)s and kept.film_id = %(keep)s
      and (kept.kind, kept.value) = (other.kind, other.value)
    """,
    "update raw.film_aliases set film_id = %(keep)s where film_id = %(drop)s",
    "update incoming set film_id = %(keep)s where film_id = %(drop)s",
    """
    insert into raw.film_genres (film_id, genre_id)
    select %(keep)s, genre_id from raw.film_genres where film_id = %(drop)s
      and not exists (select from raw.film_genres where film_id = %(keep)s)
    """,
    """
    insert into raw.film_countries (film_id, country_id)
    select %(keep)s, country_id from raw.film_countries where film_id = %(drop)s
      and not exists (select from raw.film_countries where film_id = %(keep)s)
    """,
    """
    insert into raw.film_people (film_id, person_id, role, credit_order, character_name)
    select %(keep)s, person_id, role, credit_order, character_name
    from raw.film_people as other where film_id = %(drop)s
      and not exists (select from raw.film_people where film_id = %(keep)s and role = other.role)
    """,
    """
    delete from raw.film_histograms as other using raw.film_histograms as kept
    where other.film_id = %(drop)s and kept.film_id = %(keep)s and kept.source = other.source
    """,
    "update raw.film_histograms set film_id = %(keep)s where film_id = %(drop)s",
    "update ops.scrape_failures set film_id = %(keep)s where film_id = %(drop)s",
    # A title that only `drop` had is fetched for `keep`, mostly from the copy that we hold.
    """
    update ops.film_metadata_sync as kept
    set page_fetched_at = coalesce(kept.page_fetched_at, other.page_fetched_at),
        histogram_url = coalesce(kept.histogram_url, other.histogram_url),
        histogram_fetched_at = coalesce(kept.histogram_fetched_at, other.histogram_fetched_at),
        tmdb_matched_by = case when is_title_new then other.tmdb_matched_by else kept.tmdb_matched_by end,
        status = case when is_title_new then 'pending' else kept.status end,
        attempts = case when is_title_new then 0 else kept.attempts end,
        next_attempt_at = case when is_title_new then now() else kept.next_attempt_at end,
        updated_at = now()
    from ops.film_metadata_sync as other
    cross join lateral (
        select film.tmdb_id is null and dropped.tmdb_id is not null as is_title_new
        from raw.films as film, raw.films as dropped
        where film.film_id = %(keep)s and dropped.film_id = %(drop)s
    ) as titles
    where kept.film_id = %(keep)s and other.film_id = %(drop)s
    """,
    f"""
    with dropped as (delete from raw.films where film_id = %(drop)s returning *)
    update raw.films as film
    set {", ".join(f"{name} = coalesce(film.{name}, dropped.{name})" for name in _FILLED)},
        title = case when film.field_sources ->> 'title' = 'slug' then dropped.title else film.title end,
        field_sources = dropped.field_sources
            || (film.field_sources
                - case when film.field_sources ->> 'title' = 'slug' then 'title' else '' end)
            || case when %(guess)s::text is null then '{{}}'
                    else jsonb_build_object('lid', %(guess)s::text) end,
        updated_at = now()
    from dropped where film.film_id = %(keep)s
    """,
)


def part_film(connection: psycopg.Connection, film_id: int) -> None:
    """Undo a guess: the film's slugs and uid, and what came by them, are another film's.

    That is what feeds and pages told, and exports' viewings of which only they knew the film; what else
    exports told stays. Both are to be enriched anew.
    """
    members = [user_id for (user_id,) in connection.execute("select raw.raters(%s)", [film_id])]
    row = connection.execute(
        "select slug, uid, title, release_year from raw.films where film_id = %s", [film_id]
    ).fetchone()
    assert row is not None
    connection.execute(
        """
        update raw.films
        set slug = null, uid = null, stated_average = null, stated_ratings = null,
            field_sources = field_sources - 'lid', updated_at = now()
        where film_id = %s
        """,
        [film_id],
    )
    found = connection.execute(
        """
        insert into raw.films (slug, uid, title, release_year, field_sources)
        values (%s, %s, %s, %s, '{"title": "slug"}') returning film_id
        """,
        row,
    ).fetchone()
    assert found is not None
    ids = {"film": film_id, "other": found[0], "members": members, "sources": _SLUG_SOURCES}
    for statement in _PARTED:
        connection.execute(statement, ids)


# What a member's events tell of a film, looked up by their key.
_THOUGHT = """
    left join lateral (
        select * from raw.ratings_as_of(now()) as thought
        where thought.user_id = member.user_id and thought.film_id = {}
        offset 0
    ) as told on true
"""

_PARTED = (
    "insert into ops.film_metadata_sync (film_id) values (%(other)s)",
    """
    update raw.film_aliases set film_id = %(other)s
    where film_id = %(film)s and kind in ('slug', 'uid')
    """,
    # A page that was asked for by its slug.
    """
    update incoming set film_id = %(other)s
    where film_id = %(film)s and (slug, uid) in (
        select incoming.slug, incoming.uid from raw.film_aliases as alias
        where alias.film_id = %(other)s
          and ((alias.kind = 'slug' and alias.value = incoming.slug)
               or (alias.kind = 'uid' and alias.value = incoming.uid))
    )
    """,
    "delete from raw.film_histograms where film_id = %(film)s",
    """
    select ops.forget_title(film_id) from ops.film_metadata_sync
    where film_id = %(film)s and status <> 'overridden'
    """,
    """
    update ops.film_metadata_sync
    set status = 'pending', attempts = 0, next_attempt_at = now(), page_fetched_at = null,
        tmdb_fetched_at = null, tmdb_matched_by = null, histogram_url = null, histogram_fetched_at = null,
        last_error = null, updated_at = now()
    where film_id = %(film)s and status <> 'overridden'
    """,
    """
    update raw.rating_events set film_id = %(other)s
    where film_id = %(film)s and user_id = any(%(members)s) and source = any(%(sources)s)
    """,
    """
    update raw.ratings as rating set film_id = %(other)s
    where film_id = %(film)s and user_id = any(%(members)s) and source = any(%(sources)s)
      and not exists (
          select from raw.rating_events as event
          where event.user_id = rating.user_id and event.film_id = %(film)s
      )
    """,
    # Of whoever had both, the history of each begins with its own first word.
    """
    update raw.rating_events as event
    set kind = case when kind = 'removed' then kind else 'added' end,
        old_rating = null, old_liked = null, old_favorite = null,
        new_rating = case when is_mixed and old_rating is not distinct from new_rating then null
                          else new_rating end,
        new_liked = new_liked and not (is_mixed and coalesce(old_liked, false)),
        new_favorite = new_favorite and not (is_mixed and coalesce(old_favorite, false))
    from (
        select distinct on (user_id, film_id)
               user_id, film_id, rating_event_id, film_id = %(other)s as is_mixed
        from raw.rating_events
        where user_id = any(%(members)s) and film_id in (%(film)s, %(other)s)
        order by user_id, film_id, as_of, rating_event_id
    ) as first
    where (event.user_id, event.film_id, event.rating_event_id)
          = (first.user_id, first.film_id, first.rating_event_id)
      and event.kind <> 'added'
    """,
    f"""
    with member as (
        select distinct on (user_id) user_id, event.source, rating.rating, rating.rated_at,
               rating.rated_at_source
        from raw.rating_events as event
        join raw.ratings as rating using (user_id)
        where user_id = any(%(members)s) and event.film_id = %(other)s and rating.film_id = %(film)s
        order by user_id, as_of desc
    )
    insert into raw.ratings
        (user_id, film_id, rating, liked, favorite, rated_at, rated_at_source, source, removed_at)
    select member.user_id, %(other)s, told.rating,
           coalesce(told.liked, false), coalesce(told.favorite, false),
           case when is_dated then member.rated_at end, case when is_dated then member.rated_at_source end,
           member.source, case when told.user_id is null then now() end
    from member
    {_THOUGHT.format("%(other)s")}
    cross join lateral (
        select member.rated_at_source in ('feed', 'observed') and member.rating = told.rating as is_dated
    ) as dating
    """,
    f"""
    update raw.ratings as rating
    set rating = told.rating, liked = coalesce(told.liked, false), favorite = coalesce(told.favorite, false),
        rated_at = case when not is_changed then rating.rated_at end,
        rated_at_source = case when not is_changed then rating.rated_at_source end,
        source = member.source, updated_at = now(),
        removed_at = case when told.user_id is null then now() end
    from (
        select distinct on (user_id) user_id, event.source, mine.rating
        from raw.rating_events as event
        join raw.ratings as mine using (user_id, film_id)
        where user_id = any(%(members)s) and film_id = %(film)s
          and exists (
              select from raw.ratings as parted
              where parted.user_id = event.user_id and parted.film_id = %(other)s
          )
        order by user_id, as_of desc
    ) as member
    {_THOUGHT.format("%(film)s")}
    cross join lateral (select told.rating is distinct from member.rating as is_changed) as news
    where rating.user_id = member.user_id and rating.film_id = %(film)s
    """,
    """
    update raw.diary_entries set film_id = %(other)s
    where film_id = %(film)s and coalesce(film_told_by, source) = any(%(sources)s)
    """,
    """
    update raw.watchlist_entries set film_id = %(other)s
    where film_id = %(film)s and source = any(%(sources)s)
    """,
    """
    update raw.list_entries as entry set film_id = %(other)s
    from raw.lists as list
    where entry.film_id = %(film)s and list.list_id = entry.list_id and list.source = any(%(sources)s)
    """,
)
