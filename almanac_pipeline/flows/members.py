"""Finds who belongs to a cohort now, by its definition.

Whom members follow is kept as a graph of its own (raw.follows), which several cohorts share. It is
read page by page and audited person by person; the circle is then found in what is stored, so that
an answer that is not believed ends nothing.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import psycopg

from almanac_pipeline.errors import (
    AlmanacError,
    LayoutChangedError,
    NotFoundError,
    PermanentError,
    PrivateError,
    RenamedError,
    RetriableError,
    WrongPageError,
)
from almanac_pipeline.flows import identities
from almanac_pipeline.flows.workers import LayoutWatch, StoppedError, in_parallel, require_some_success
from almanac_pipeline.observability.logs import bound
from almanac_pipeline.progress import track
from almanac_pipeline.settings import Settings
from almanac_pipeline.sources.policy import fresh_minutes
from almanac_pipeline.sources.protocol import Circle, FilmRelation, Source
from almanac_pipeline.sources.records import FilmGrid, PeoplePage, PersonSummary
from almanac_pipeline.warehouse import alerts, cohorts, forgetting, members, runs, staging
from almanac_pipeline.warehouse.cohorts import Cohort
from almanac_pipeline.warehouse.connection import connect_to, connection_pool
from almanac_pipeline.warehouse.members import Candidate, Member
from almanac_pipeline.warehouse.runs import Run

# The site's stated totals were seen to differ by one from what its pages show.
TOTAL_TOLERANCE = 1

Page = TypeVar("Page", PeoplePage, FilmGrid)


@dataclass(frozen=True, slots=True)
class MembersReport:
    """What a sync of members did."""

    members_count: int
    added_count: int
    ended_count: int
    profiles_count: int
    """Profiles read: of those never read before, and of those who are about to leave."""
    failures_count: int
    requests_count: int
    is_suspicious: bool
    """An answer had shrunk so much that nobody was taken out by it."""
    seconds: float


@dataclass(slots=True)
class _Sync:
    """What the steps share, so that they need not pass it along."""

    connection: psycopg.Connection
    database_url: str
    settings: Settings
    source: Source
    run: Run
    cohort: Cohort
    definition: dict[str, Any]
    is_suspicious: bool = False
    profiles_count: int = 0
    asked: set[int] = field(default_factory=set)
    """Whose profile was asked for in this run."""
    shown: list[str] = field(default_factory=list)
    """Names on the pages of a film's people, in the order in which they come in."""
    is_complete: bool = True
    """Whether those are all of them."""


@dataclass(slots=True)
class _ProfileRead:
    """What reading one profile took."""

    requests: int = 0
    pages: int = 0
    error: AlmanacError | None = None
    """None also where it is the answer to a question: that somebody who left is gone."""


@dataclass(frozen=True, slots=True)
class _Found:
    """Depths by user, in the order in which they come in. Depth 0 is who the circle was made from."""

    depths: dict[int, int]
    is_complete: bool = True
    """Whether somebody who is missing is no longer there."""


def sync_members(
    database_url: str, settings: Settings, source: Source, cohort_slug: str, run_id: str | None = None
) -> MembersReport:
    """Begin and end memberships so that they agree with the cohort's definition.

    Raises:
        AlmanacError: what the circle is made from could not be read completely; no membership was changed.
    """
    started = time.monotonic()
    with connect_to(database_url, autocommit=True) as connection:
        cohort = cohorts.get_cohort(connection, cohort_slug)
        cohorts.require_active(cohort)
        definition = cohorts.definition_of(cohort)
        cohort = cohorts.with_root(connection, cohort)
        with (
            runs.scrape_run(database_url, cohort.cohort_id, "members", run_id) as run,
            track("members") as progress,
        ):
            sync = _Sync(connection, database_url, settings, source, run, cohort, definition)
            chosen = _find_members(sync)
            with connection.transaction():
                forgetting.hold_off(connection)
                cohorts.require_active(cohorts.get_cohort(connection, cohort_slug))
                change = members.set_members(connection, cohort.cohort_id, chosen, may_end=True)
            run.members_count = run.rows_seen = len(chosen)
            run.rows_changed, run.rows_removed = change.added_count, change.ended_count
            alerts.check_volume(connection, run, settings.volume_alert_factor)
            progress.advance(len(chosen))
    return MembersReport(
        members_count=len(chosen),
        added_count=change.added_count,
        ended_count=change.ended_count,
        profiles_count=sync.profiles_count,
        failures_count=run.failures_count,
        requests_count=run.requests_count,
        is_suspicious=sync.is_suspicious,
        seconds=time.monotonic() - started,
    )


def choose(
    found: _Found, known: Mapping[int, Candidate], current: Sequence[int], definition: Mapping[str, Any]
) -> dict[int, int]:
    """Depths of those whom the filters let in, at most as many as the definition says. Pure.

    Where not everybody could be read, the present members come first and stay. A count that was
    never seen keeps nobody out. Who the circle was made from (depth 0) is not filtered.
    """
    depths = found.depths
    if not found.is_complete:
        depths = {user_id: depths.get(user_id, 1) for user_id in current} | depths
    excluded = set(definition.get("exclude", ()))
    minima = (definition.get("min_films", 0), definition.get("min_likes", 0))
    chosen = {}
    for user_id, depth in depths.items():
        person = known.get(user_id)
        if person is None or person.username in excluded:
            continue
        counts = (person.listed_films_count, person.listed_likes_count)
        if depth and any(n is not None and n < least for n, least in zip(counts, minima, strict=True)):
            continue
        chosen[user_id] = depth
    most = definition.get("max_members")
    return dict(list(chosen.items())[:most])


def _find_members(sync: _Sync) -> dict[int, int]:
    """Depths of who belongs to the cohort now.

    Profiles of people who were never read are read first, because they tell who people are and how
    much they have seen; those of people who are about to leave, because they may have been renamed.
    """
    kind = sync.definition["kind"]
    _READERS[kind](sync)
    while True:
        found = _FINDERS[kind](sync)
        current = [
            member.user_id for member in members.current_members(sync.connection, sync.cohort.cohort_id)
        ]
        known = members.candidates(
            sync.connection, {*found.depths, *current}, sync.settings.profile_max_age_hours
        )
        chosen = choose(found, known, current, _filters(sync))
        unread = [known[user_id] for user_id in chosen if known[user_id].needs_profile]
        leaving = [
            known[user_id] for user_id in current
            if kind != "usernames" and user_id not in found.depths and user_id not in chosen
            and user_id in known and known[user_id].status == "active"
        ]  # fmt: skip
        # One after the other: a new name may be that of somebody who seems to leave.
        due = (
            [person for person in people if person.user_id not in sync.asked] for people in (unread, leaving)
        )
        asked = next(filter(None, due), [])
        if not asked or not sync.source.permits("profile"):
            return chosen
        _read_profiles(sync, asked)


def _filters(sync: _Sync) -> dict[str, Any]:
    """The definition, with the names of today of those whom it excludes."""
    excluded = sync.definition.get("exclude")
    if not excluded:
        return sync.definition
    return sync.definition | {"exclude": members.with_present_names(sync.connection, excluded)}


def _read_profiles(sync: _Sync, people: Sequence[Candidate]) -> None:
    """Read these profiles on as many threads as there are workers. One failure does not end the run.

    Raises:
        LayoutDriftError: most of those whom the site has just shown are gone, by its word.
    """
    sync.asked.update(person.user_id for person in people)
    # Names that somebody gave us may be wrong, and who leaves a circle may be gone.
    were_shown = sync.definition["kind"] != "usernames" and people[0].needs_profile
    watch = LayoutWatch(sync.settings.shrink_guard_share)
    asked = [Member(person.user_id, person.username, person.status) for person in people]
    with (
        identities.gone_only_if_believed(sync.database_url, sync.run, asked),
        connection_pool(sync.database_url, sync.settings.http_workers) as pool,
    ):

        def work(person: Candidate, stopping: threading.Event) -> _ProfileRead:
            if stopping.is_set():
                raise StoppedError("Stopped, because another member met a fatal error.")
            with bound(user_id=person.user_id), pool.connection() as connection:
                return _read_profile(sync, connection, person)

        for _, read in in_parallel(work, people, sync.settings.http_workers):
            sync.run.requests_count += read.requests
            sync.run.pages_count += read.pages
            sync.profiles_count += read.pages
            sync.run.failures_count += read.error is not None
            if were_shown:
                watch.saw(
                    [read.error] if read.error else [],
                    has_success=read.pages > 0,
                    is_gone=isinstance(read.error, NotFoundError),
                )
        watch.ended()


def _read_profile(sync: _Sync, connection: psycopg.Connection, person: Candidate) -> _ProfileRead:
    """Read one profile, unless another run has just done so."""
    read = _ProfileRead()
    member = Member(person.user_id, person.username, person.status)
    try:
        with runs.member_lock(connection, "ratings", person.user_id, wait=True):
            state = staging.read_state(connection, person.user_id, "profile")
            if state.last_success_at is not None and state.last_success_at > sync.run.started_at:
                return read
            read.requests += 1
            try:
                profile, user_id = identities.read_profile(connection, sync.source, member)
            except RenamedError as renamed:
                member = identities.follow_renaming(connection, member, renamed)
                read.requests += 1
                profile, user_id = identities.read_profile(connection, sync.source, member)
            read.pages += 1
            identities.set_favorites(connection, sync.settings, sync.source, sync.run, user_id, profile)
    except (RetriableError, PermanentError) as error:
        if isinstance(error, (NotFoundError, PrivateError)) and not person.needs_profile:
            # Of somebody who leaves that is the answer, and no failure.
            members.mark_unreadable(connection, member.user_id, error)
        else:
            read.error = _failed(sync, connection, member, "profile", error)
    return read


def _failed(
    sync: _Sync, connection: psycopg.Connection, member: Member, page_kind: str, error: AlmanacError
) -> AlmanacError:
    """Record that a page of a member could not be read, and what that tells of them."""

    def asks() -> None:
        sync.run.requests_count += 1

    error, _ = identities.learn_from_error(connection, sync.source, sync.run, member, page_kind, error, asks)
    runs.record_failure(connection, sync.run, page_kind, error, user_id=member.user_id)
    return error


# -- reading what a circle is made from ---------------------------------------------------------


def _read_nothing(sync: _Sync) -> None:
    """Names need no page, and neither does the owner of a list."""


def _read_following(sync: _Sync) -> None:
    """Read whom the seed follows, then level by level whom they follow, as far as that is due."""
    _read_circle_of_seed(sync, "following")

    def is_due(user_id: int) -> bool:
        is_old = _is_older(sync, user_id, "following", sync.settings.profile_max_age_hours)
        return is_old and members.get_member(sync.connection, user_id).status == "active"

    def read_if_due(user_id: int) -> None:
        member = members.get_member(sync.connection, user_id)
        try:
            _read_circle_of(sync, member, "following", is_due)
        except (RetriableError, PermanentError) as error:
            _failed(sync, sync.connection, member, "following", error)
            sync.run.failures_count += 1

    _walk_graph(sync, read_if_due)


def _read_followers(sync: _Sync) -> None:
    _read_circle_of_seed(sync, "followers")


def _read_circle_of_seed(sync: _Sync, circle: Circle) -> None:
    """Read what everything else rests on, unless it was read a moment ago: if that fails, so does the run."""
    seed = _seed(sync)
    fresh_hours = fresh_minutes(sync.settings) / 60
    try:
        _read_circle_of(sync, seed, circle, lambda user_id: _is_older(sync, user_id, circle, fresh_hours))
    except (RetriableError, PermanentError) as error:
        sync.run.failures_count += 1
        learned = _failed(sync, sync.connection, seed, circle, error)
        if learned is error:
            raise
        raise learned from error


def _is_older(sync: _Sync, user_id: int, circle: Circle, hours: float) -> bool:
    """Whether it was last read longer ago than that, and by no other run since this one began."""
    state = staging.read_state(sync.connection, user_id, circle)
    if state.last_success_at is not None and state.last_success_at > sync.run.started_at:
        return False
    return state.success_is_older_than(hours)


def _read_circle_of(sync: _Sync, member: Member, circle: Circle, is_due: Callable[[int], bool]) -> None:
    """Read whom one member follows, or who follows them, if that is due, and store it if it can be believed.

    Raises:
        AlmanacError: it could not be read completely; nothing was changed.
    """
    try:
        _read_circle_once(sync, member, circle, is_due)
    except RenamedError as renamed:
        # Without the lock: who turns out to be forgotten is erased under all locks of theirs.
        member = identities.follow_renaming(sync.connection, member, renamed)
        _read_circle_once(sync, member, circle, is_due)


def _read_circle_once(sync: _Sync, member: Member, circle: Circle, is_due: Callable[[int], bool]) -> None:
    """One run reads it; others that want it wait, and find it read or its owner marked as unreadable."""
    if not is_due(member.user_id):
        return
    connection = sync.connection
    read = sync.source.read_following if circle == "following" else sync.source.read_followers
    with runs.member_lock(connection, circle, member.user_id, wait=True):
        if not is_due(member.user_id):
            return
        try:
            people, is_counted = _read_people(sync, read(member.username), circle, owner=member.username)
        except PrivateError as error:
            members.mark_unreadable(connection, member.user_id, error)
            raise
        _store_circle(sync, member, circle, people, is_counted)


def _store_circle(
    sync: _Sync, member: Member, circle: Circle, people: Sequence[PersonSummary], is_counted: bool
) -> None:
    """Store everybody whom the pages show.

    Far fewer than before end nothing, and neither do fewer where no total says that these are all.
    """
    connection = sync.connection
    with connection.transaction():
        forgetting.hold_off(connection)
        members.get_member(connection, member.user_id)
        if circle == "following":
            stored = len(members.followed_by(connection, [member.user_id]))
        else:
            stored = len(members.followers_of(connection, member.user_id))
        is_shrunken = len(people) < (sync.settings.shrink_guard_share if is_counted else 1.0) * stored
        users = members.ensure_users(connection, [person.username for person in people])
        members.set_listed_counts(connection, users, people)
        set_edges = members.set_follows if circle == "following" else members.set_followers
        set_edges(connection, member.user_id, users.values(), may_end=is_counted and not is_shrunken)
        members.mark_seen(connection, member.user_id)
        if is_shrunken:
            staging.mark_suspicious(connection, member.user_id, circle)
            error = _shrunken(circle, len(people), stored)
            runs.record_failure(connection, sync.run, circle, error, user_id=member.user_id)
            alerts.raise_alert(
                connection,
                "suspicious",
                f"member {member.user_id} {circle}",
                str(error),
                cohort_id=sync.cohort.cohort_id,
                user_id=member.user_id,
            )
        else:
            staging.mark_success(connection, member.user_id, circle, complete=True)
            runs.resolve_failures(connection, circle, user_id=member.user_id)
    sync.is_suspicious |= is_shrunken
    sync.run.failures_count += is_shrunken


def _read_film(sync: _Sync) -> None:
    """Read who stands in the relation to the film, as many as may become members."""
    definition = sync.definition
    most = definition["max_members"] + len(definition["exclude"])
    pages = sync.source.read_film_people(definition["film"], definition["relation"])
    people, is_complete = _read_people(sync, pages, definition["relation"], most=most)
    _keep_named(sync, people, is_complete)


def _read_list(sync: _Sync) -> None:
    """Read the first page of people of each of the list's films; who comes up most often comes first."""
    definition = sync.definition
    relation: FilmRelation | None = definition["relation"] if definition["relation"] != "owner" else None
    if relation is None:
        return
    owner = _seed(sync)
    slugs: list[str] = []
    for page in _counted(sync, sync.source.read_list(owner.username, definition["list"])):
        slugs += [item.slug for item in page.items]
        if len(slugs) >= definition["max_films"]:
            break
    people: dict[str, PersonSummary] = {}
    times_seen: Counter[str] = Counter()
    errors: list[AlmanacError] = []
    asked = slugs[: definition["max_films"]]
    for slug in asked:
        try:
            shown, _ = _read_people(sync, sync.source.read_film_people(slug, relation), relation, most=1)
        except (RetriableError, PermanentError) as error:
            errors.append(error)
            runs.record_failure(sync.connection, sync.run, relation, error)
            continue
        people |= {person.username: person for person in shown}
        times_seen.update(person.username for person in shown)
    sync.run.failures_count += len(errors)
    require_some_success("films", len(asked), errors)
    _keep_named(sync, [people[name] for name, _ in times_seen.most_common()], is_complete=False)


def _keep_named(sync: _Sync, people: Sequence[PersonSummary], is_complete: bool) -> None:
    """Remember who was shown. Far fewer than before are not taken for everybody."""
    with sync.connection.transaction():
        users = members.ensure_users(sync.connection, [person.username for person in people])
        members.set_listed_counts(sync.connection, users, people)
        stored = len(members.current_members(sync.connection, sync.cohort.cohort_id))
    relation, cohort_id = sync.definition["relation"], sync.cohort.cohort_id
    topic = f"cohort {cohort_id} {relation}"
    if is_complete and len(people) < sync.settings.shrink_guard_share * stored:
        error = _shrunken(relation, len(people), stored)
        runs.record_failure(sync.connection, sync.run, relation, error)
        alerts.raise_alert(sync.connection, "suspicious", topic, str(error), cohort_id=cohort_id)
        sync.is_suspicious, is_complete = True, False
        sync.run.failures_count += 1
    else:
        alerts.resolve_alerts(sync.connection, "suspicious", topic)
    sync.shown, sync.is_complete = [person.username for person in people], is_complete


def _read_people(
    sync: _Sync, pages: Iterator[PeoplePage], what: str, *, owner: str | None = None, most: int | None = None
) -> tuple[list[PersonSummary], bool]:
    """Everybody whom the pages show, in the site's order, or the pages with the first `most` of them.

    The second value says whether that was everybody; of a member's people only a total tells that.

    Raises:
        RetriableError: there were fewer or more people than the page states.
        LayoutChangedError: a page showed only people that earlier pages had shown.
    """
    people: dict[str, PersonSummary] = {}
    total = None
    for page in _counted(sync, pages):
        if owner is not None and (page.owner or "").lower() != owner:
            raise WrongPageError(f"another member's page of {what} came than was asked for")
        total = page.total if page.total is not None else total
        new = {person.username.lower(): person for person in page.people}
        if new and new.keys() <= people.keys():
            raise LayoutChangedError(f"a later page of {what} shows nobody new")
        people |= new
        if most is not None and len(people) >= most and page.next_page is not None:
            return list(people.values()), False
    if total is not None and abs(len(people) - total) > TOTAL_TOLERANCE:
        raise RetriableError(
            f"The pages of {what} state {total} people, but {len(people)} were shown. Try again later."
        )
    return list(people.values()), owner is None or total is not None


def _counted(sync: _Sync, pages: Iterator[Page]) -> Iterator[Page]:
    """The pages, each request counted, also one that fails.

    Raises:
        RetriableError: a page that was announced did not come.
    """
    while True:
        sync.run.requests_count += 1
        page = next(pages, None)
        if page is None:
            raise RetriableError("A page of people was announced but did not come. Try again later.")
        sync.run.pages_count += 1
        yield page
        if page.next_page is None:
            return


def _shrunken(what: str, shown_count: int, stored_count: int) -> RetriableError:
    return RetriableError(
        f"The pages of {what} show {shown_count} people, where {stored_count} are stored: no membership was "
        "ended. If that is right, run once with a lower ALMANAC_SHRINK_GUARD_SHARE."
    )


def _seed(sync: _Sync) -> Member:
    """Who the circle is made from, under the name of today.

    Raises:
        PermanentError: nobody, because they were forgotten, or somebody without a name.
    """
    if sync.cohort.seed_user_id is None:
        raise PermanentError(f"The cohort {sync.cohort.slug} is made from nobody any more. Build another.")
    seed = members.get_member(sync.connection, sync.cohort.seed_user_id)
    if seed.status == "renamed":
        raise PermanentError(
            f"The name of the member whom {sync.cohort.slug} is made from belongs to somebody else now. "
            "Build another cohort from their new name."
        )
    return seed


# -- finding the circle in what is stored -------------------------------------------------------


def _find_following(sync: _Sync) -> _Found:
    return _walk_graph(sync, lambda user_id: None)


def _walk_graph(sync: _Sync, visit: Callable[[int], None]) -> _Found:
    """Whom the seed follows, and level by level whom they follow; `visit` is called before a step further.

    Nobody comes in through somebody whom the filters keep out.
    """
    seed_id, definition = _seed(sync).user_id, sync.definition
    depths, level = {seed_id: 0}, [seed_id]
    for depth in range(1, definition["depth"] + 1):
        for user_id in level if depth > 1 else ():
            visit(user_id)
        reached = [
            user_id for user_id in members.followed_by(sync.connection, level) if user_id not in depths
        ]
        known = members.candidates(sync.connection, reached, sync.settings.profile_max_age_hours)
        reached = sorted(known, key=lambda user_id: known[user_id].username)
        next_level = _Found(dict.fromkeys(reached, depth))
        depths |= next_level.depths
        level = list(choose(next_level, known, [], _filters(sync) | {"max_members": None}))
    return _Found(_with_self(sync, depths, seed_id))


def _find_followers(sync: _Sync) -> _Found:
    seed_id = _seed(sync).user_id
    followers = members.followers_of(sync.connection, seed_id)
    known = members.candidates(sync.connection, followers, sync.settings.profile_max_age_hours)
    followers = sorted(known, key=lambda user_id: known[user_id].username)
    return _Found(_with_self(sync, {seed_id: 0} | dict.fromkeys(followers, 1), seed_id))


def _find_shown(sync: _Sync) -> _Found:
    """Who was shown as a film's or list's people; who is in already comes first, so that circles are steady.

    Names are looked up anew, because a profile may have told that two of them are one person.
    """
    users = members.ensure_users(sync.connection, sync.shown)
    shown = {users[name]: 1 for name in map(str.lower, sync.shown) if name in users}
    current = [member.user_id for member in members.current_members(sync.connection, sync.cohort.cohort_id)]
    depths = {user_id: 1 for user_id in current if user_id in shown} | shown
    if sync.definition["kind"] == "list":
        seed_id = _seed(sync).user_id
        if sync.definition["relation"] == "owner":
            return _Found({seed_id: 0})
        return _Found(_with_self(sync, {seed_id: 0} | depths | {seed_id: 0}, seed_id), sync.is_complete)
    return _Found(depths, sync.is_complete)


def _find_named(sync: _Sync) -> _Found:
    names = sync.definition["usernames"]
    users = members.named_users(sync.connection, sync.cohort.cohort_id, names)
    return _Found({users[name]: 1 for name in names if name in users})


def _with_self(sync: _Sync, depths: dict[int, int], seed_id: int) -> dict[int, int]:
    return depths if sync.definition["include_self"] else {u: d for u, d in depths.items() if u != seed_id}


_READERS: dict[str, Callable[[_Sync], None]] = {
    "following": _read_following,
    "followers": _read_followers,
    "usernames": _read_nothing,
    "list": _read_list,
    "film": _read_film,
}
_FINDERS: dict[str, Callable[[_Sync], _Found]] = {
    "following": _find_following,
    "followers": _find_followers,
    "usernames": _find_named,
    "list": _find_shown,
    "film": _find_shown,
}
