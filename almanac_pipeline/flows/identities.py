"""Reads a member's profile and keeps track of who they are: renamed, gone, private or forgotten.

Every flow that reads a profile does it by `read_profile`, and tells `learn_from_error` why a page
of a member could not be read. Opinions stay out, but for the favourites that a profile shows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import psycopg

from almanac_pipeline.errors import (
    AlmanacError,
    ForgottenError,
    LayoutChangedError,
    LayoutDriftError,
    NotFoundError,
    PermanentError,
    RenamedError,
    RetriableError,
    WrongPageError,
)
from almanac_pipeline.settings import Settings
from almanac_pipeline.sources.protocol import Source
from almanac_pipeline.sources.records import PersonSummary, ProfilePage
from almanac_pipeline.warehouse import forgetting, members, opinions, staging
from almanac_pipeline.warehouse.alerts import raise_alert
from almanac_pipeline.warehouse.connection import connect_to
from almanac_pipeline.warehouse.members import Member
from almanac_pipeline.warehouse.opinions import Changes
from almanac_pipeline.warehouse.runs import Run

MAXIMUM_FAVORITES = 4


def read_profile(connection: psycopg.Connection, source: Source, member: Member) -> tuple[ProfilePage, int]:
    """The member's profile, and the id of the person whose it is: not `member.user_id` if the LID says so.

    Raises:
        AlmanacError: as the source does; ForgottenError where the person asked to be forgotten, of whom
            nothing is stored any more then.
    """
    profile = source.read_profile(member.username)
    if profile.owner.lower() != member.username:
        raise WrongPageError("another member's profile came than was asked for")
    if len(profile.favorites) > MAXIMUM_FAVORITES:
        raise LayoutChangedError(f"the member's profile shows {len(profile.favorites)} favourites")
    try:
        user_id = members.learn_profile(connection, member.user_id, member.username, profile.lid)
    except ForgottenError:
        forgetting.forget(connection, member.username)
        raise
    if profile.films_count is not None:
        listed = [PersonSummary(member.username, films_count=profile.films_count)]
        members.set_listed_counts(connection, {member.username: user_id}, listed)
    if profile.ratings_count is not None:
        members.mark_seen(connection, user_id, ratings_count=profile.ratings_count)
    return profile, user_id


def set_favorites(
    connection: psycopg.Connection,
    settings: Settings,
    source: Source,
    run: Run,
    user_id: int,
    profile: ProfilePage,
) -> Changes:
    """Merge the favourites that a profile shows.

    Raises:
        RetriableError: so few are left that they are not believed; nothing was changed.
    """
    stored = opinions.count_stored(connection, user_id, "favorites")
    if len(profile.favorites) < settings.shrink_guard_share * stored:
        message = (
            f"The member's profile shows {len(profile.favorites)} favourites where {stored} are stored; "
            "nothing was changed. If that is right, run once with a lower ALMANAC_SHRINK_GUARD_SHARE."
        )
        staging.mark_suspicious(connection, user_id, "profile")
        raise_alert(connection, "suspicious", f"member {user_id} profile", message, user_id=user_id)
        raise RetriableError(message)
    return opinions.merge_favorites(
        connection, user_id, profile.favorites, source=source.name, run_id=run.run_id
    )


def follow_renaming(connection: psycopg.Connection, member: Member, renamed: RenamedError) -> Member:
    """The member under the name that the site led to.

    Raises:
        RenamedError: somebody else has that name; this member is without one until their LID is met.
        ForgottenError: the person asked to be forgotten under that name; what was left is gone now.
    """
    try:
        members.take_name(connection, member.user_id, renamed.username)
    except ForgottenError:
        forgetting.forget(connection, member.username)
        raise
    found = members.get_member(connection, member.user_id)
    if found.status == "renamed":
        raise renamed
    return found


def learn_from_error(
    connection: psycopg.Connection,
    source: Source,
    run: Run,
    member: Member,
    page_kind: str,
    error: AlmanacError,
    asks: Callable[[], None],
) -> tuple[AlmanacError, bool]:
    """Remember what an error tells of the member; their memberships and opinions stay as they are.

    Only the profile proves that somebody is gone: where another page is missing, it is read, and
    `asks` called before. Returns the error to record, another one where learning met it, and whether
    it is an answer: who the member is now, or that nothing of theirs is for us. Never raises an error
    of a member.
    """
    if isinstance(error, NotFoundError) and page_kind != "profile":
        error = _profile_error(connection, source, run, member, asks)
    if isinstance(error, RenamedError):
        try:
            follow_renaming(connection, member, error)
        except PermanentError as learned:
            error = learned
    is_answer = members.mark_unreadable(connection, member.user_id, error)
    return error, is_answer or isinstance(error, (RenamedError, ForgottenError))


@contextmanager
def gone_only_if_believed(database_url: str, run: Run, asked: Sequence[Member]) -> Iterator[None]:
    """Where pages turn out not to be what they were, nobody is gone because they said so in this run."""
    try:
        yield
    except LayoutDriftError:
        were_there = [member for member in asked if member.status != "deleted"]
        with connect_to(database_url, autocommit=True) as connection:
            members.unmark_deleted(connection, were_there, run.started_at)
        raise


def _profile_error(
    connection: psycopg.Connection, source: Source, run: Run, member: Member, asks: Callable[[], None]
) -> AlmanacError:
    """What the profile says of a member of whom another page is missing."""
    read_at = staging.read_state(connection, member.user_id, "profile").last_success_at
    if read_at is None or read_at < run.started_at:
        if not source.permits("profile"):
            return PermanentError(
                "A page of the member's is missing; whether they are gone may not be asked."
            )
        asks()
        try:
            read_profile(connection, source, member)
        except (RetriableError, PermanentError) as error:
            return error
    return PermanentError("A page of the member's is missing, though their profile is there.")
