"""Imports the data exports of members: one transaction per file, all of it or nothing.

What a file means is in `sources.export_zip`, how it is stored in `warehouse`. Also decides which
files of the inbox folder are due. Names of files hold the member's: they are in what is returned
for the operator's terminal, and in nothing that is stored or logged.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from stat import S_ISREG
from typing import Literal

import psycopg

from almanac_pipeline.errors import (
    AlmanacError,
    ConfigurationError,
    ForgottenError,
    ImportFileError,
    MemberSubject,
    ShrunkenError,
    WarehouseError,
)
from almanac_pipeline.progress import track
from almanac_pipeline.settings import Settings
from almanac_pipeline.sources.export_zip import Export, ExportFilm, parse_export
from almanac_pipeline.warehouse import (
    alerts,
    cohorts,
    forgetting,
    imports,
    members,
    runs,
    staging,
    viewings,
)
from almanac_pipeline.warehouse.connection import connect_to, database_failures
from almanac_pipeline.warehouse.films import FilmKey, resolve_films
from almanac_pipeline.warehouse.opinions import Changes, Opinion, Part, merge_opinions
from almanac_pipeline.warehouse.runs import Run

# A file that was written to within this time may still grow.
SETTLED_AFTER = timedelta(seconds=10)
# A file that a run has not come to terms with is taken up again after so long, then twice that.
AGAIN_AFTER = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class FileReport:
    """What became of one file. `known`: this content was imported for the member before."""

    file_name: str
    outcome: Literal["imported", "known", "refused"]
    username: str | None = None
    error: str = ""
    """Why it was refused; names the file inside the ZIP and the row, but no member."""
    doubts: tuple[str, ...] = ()
    """Why parts of it were left out: they hold far less than is stored."""
    as_of: datetime | None = None
    is_outdated: bool = False
    """Something newer was known already: it changed no opinion."""
    joined_cohort: bool = False
    rows_by_file: Mapping[str, int] = field(default_factory=dict)
    changes: Mapping[str, Changes] = field(default_factory=dict)
    """By part: opinions, diary, watchlist, lists."""
    ambiguous_count: int = 0
    """Diary entries whose title and year fit several films."""
    unknown_count: int = 0
    """Diary entries whose film is in no other file."""
    watched_only_count: int = 0
    """Watched films without rating, like or diary entry: nothing is stored of them."""
    repeated_rows_count: int = 0

    @property
    def total(self) -> Changes:
        """The changes of all parts."""
        return sum(self.changes.values(), Changes())


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import of several files did."""

    files_count: int
    imported_count: int
    known_count: int
    failures_count: int
    doubted_count: int
    """Of the imported ones those of which a part was left out."""
    rows_seen: int
    added_count: int
    changed_count: int
    removed_count: int
    restored_count: int
    ambiguous_count: int
    seconds: float
    failures: tuple[str, ...]
    """The first few reasons, each with the hash of the file in place of its name."""
    files: tuple[FileReport, ...]


def import_exports(
    database_url: str,
    settings: Settings,
    paths: Sequence[Path],
    *,
    cohort_slug: str | None = None,
    username: str | None = None,
    run_id: str | None = None,
    on_file: Callable[[FileReport], None] = lambda report: None,
) -> ImportReport:
    """Import the files one after the other; what is wrong with one does not stop the others.

    `cohort_slug`: the members join that cohort. `username`: whose exports these are, for those that
    do not say so. `on_file` hears of each file when it is done.

    Raises:
        ConfigurationError: the slug cannot be one.
        WarehouseError: the database failed or went away; the files before are imported.
    """
    started = time.monotonic()
    if cohort_slug is not None and not cohorts.SLUG.fullmatch(cohort_slug):
        raise ConfigurationError(
            f"{cohort_slug!r} cannot be a cohort's slug: lower-case letters, digits, - and _, at most 63."
        )
    reports: list[FileReport] = []
    failures: list[str] = []
    with (
        database_failures(),
        connect_to(database_url, autocommit=True) as connection,
        runs.scrape_run(database_url, None, "import", run_id) as run,
        track("exports", len(paths)) as progress,
    ):
        imports.drop_left_behind(connection)
        for path in paths:
            content = b""
            try:
                content, body = _read_file(path, settings.import_max_megabytes)
                if body is None:
                    raise ImportFileError(
                        "The file is larger than ALMANAC_IMPORT_MAX_MEGABYTES. "
                        "Raise it if the export is really so large."
                    )
                export = parse_export(body, path.name, max_bytes=settings.import_max_megabytes * 1_000_000)
                report = _import(connection, settings, run, path.name, content, export, cohort_slug, username)
            except WarehouseError:
                raise
            except AlmanacError as error:
                report = FileReport(path.name, "refused", error=str(error))
                failures.append(_record_refusal(connection, run, content, error))
            failures += [f"{_short(content)}: {doubt}" for doubt in report.doubts]
            _add_to_run(run, report)
            reports.append(report)
            on_file(report)
            progress.advance()
        if any(report.outcome == "imported" for report in reports):  # else it says nothing of what is usual
            alerts.check_volume(connection, run, settings.volume_alert_factor)
    total = sum((report.total for report in reports), Changes())
    outcomes = Counter(report.outcome for report in reports)
    return ImportReport(
        files_count=len(reports),
        imported_count=outcomes["imported"],
        known_count=outcomes["known"],
        failures_count=outcomes["refused"],
        doubted_count=sum(bool(report.doubts) for report in reports),
        rows_seen=run.rows_seen,
        added_count=total.added,
        changed_count=total.changed,
        removed_count=total.removed,
        restored_count=total.restored,
        ambiguous_count=sum(report.ambiguous_count for report in reports),
        seconds=time.monotonic() - started,
        failures=tuple(failures[:5]),
        files=tuple(reports),
    )


def _read_file(path: Path, max_megabytes: int) -> tuple[bytes, bytes | None]:
    """The hash of the content and the content; of a file too large a stand-in for the hash, and None.

    Raises:
        ImportFileError: it cannot be read.
    """
    try:
        status = path.stat()
        if status.st_size > max_megabytes * 1_000_000:
            file = InboxFile(path.name, status.st_size, status.st_mtime)
            return file.fingerprint.encode(), None
        body = path.read_bytes()
        return hashlib.sha256(body).digest(), body
    except OSError as error:
        # Without the path, which holds the member's name.
        raise ImportFileError(f"The file cannot be read: {error.strerror}. Check its path.") from None


def _import(
    connection: psycopg.Connection,
    settings: Settings,
    run: Run,
    file_name: str,
    content: bytes,
    export: Export,
    cohort_slug: str | None,
    given_name: str | None,
) -> FileReport:
    started = time.monotonic()
    username = _whose(export, given_name)
    as_of = min(export.as_of, datetime.now(UTC))
    with _member_held(connection, run, username) as (user_id, is_new):
        is_known = imports.is_imported(connection, content, user_id)
        is_outdated = not is_known and imports.is_outdated(connection, user_id, as_of)
        topic = f"member {user_id} import"
        changes: dict[str, Changes] = {}
        doubts: list[ShrunkenError] = []
        try:
            with imports.refusing_what_does_not_fit(), connection.transaction():
                if not is_known:
                    changes, doubts = _store(connection, settings, run, user_id, content, export, as_of)
                joined = cohort_slug is not None and _join(connection, cohort_slug, username, user_id)
                for doubt in doubts:
                    runs.record_failure(connection, run, "import", doubt, user_id=user_id)
                if doubts:  # somebody should look
                    message = " ".join(map(str, doubts))
                    alerts.raise_alert(connection, "suspicious", topic, message, user_id=user_id)
                elif not (is_known or is_outdated):
                    alerts.resolve_alerts(connection, "suspicious", topic)
        except AlmanacError as error:
            if not (is_new and imports.drop_started(connection, user_id)):
                runs.record_failure(connection, run, "import", error, user_id=user_id)
                runs.record_member(connection, run, user_id, "failed", error=error)
            raise
    matches = Counter(viewing.film_match for viewing in export.diary or ())
    report = FileReport(
        file_name,
        "known" if is_known else "imported",
        username=username,
        doubts=tuple(map(str, doubts)),
        as_of=as_of,
        is_outdated=is_outdated,
        joined_cohort=joined,
        rows_by_file=_rows_by_file(export),
        changes=changes,
        ambiguous_count=matches["ambiguous"],
        unknown_count=matches["unknown"],
        watched_only_count=_watched_only_count(export),
        repeated_rows_count=export.repeated_rows_count,
    )
    runs.record_member(
        connection,
        run,
        user_id,
        "unchanged" if is_known else "full",
        rows_seen=sum(report.rows_by_file.values()),
        rows_changed=report.total.total - report.total.removed,
        rows_removed=report.total.removed,
        milliseconds=round(1000 * (time.monotonic() - started)),
        error=doubts[0] if doubts else None,
    )
    return report


@contextmanager
def _member_held(connection: psycopg.Connection, run: Run, username: str) -> Iterator[tuple[int, bool]]:
    """Hold all locks of the member while the block runs; yields their id and whether they were unknown.

    Who is unknown is stored before the locks are waited for, in a transaction of its own: an import of
    theirs that fails wants that row to drop them. Who waits then, takes the name anew.

    Raises:
        ForgottenError: the member asked to be forgotten.
    """
    while True:
        forgetting.require_not_forgotten(connection, username)
        is_new = not imports.is_known_member(connection, username)
        with connection.transaction():
            # No cohort's point of view: a former name is its bearer's unless somebody else has it now.
            user_id = members.named_users(connection, 0, [username]).get(username)
            if user_id is None:
                continue  # forgotten just now
            if is_new:  # if we are killed before anything of them is stored, they are found by this
                runs.record_member(connection, run, user_id, "started")
        with ExitStack() as held:
            try:
                for subject in runs.MEMBER_LOCKS:
                    held.enter_context(runs.member_lock(connection, subject, user_id, wait=True))
            except ForgottenError:
                continue  # the same, or dropped
            yield user_id, is_new
            return


def _store(
    connection: psycopg.Connection,
    settings: Settings,
    run: Run,
    user_id: int,
    content: bytes,
    export: Export,
    as_of: datetime,
) -> tuple[dict[str, Changes], list[ShrunkenError]]:
    """Merge the export and remember its content, in the caller's transaction.

    Returns what changed, and why parts of it were left out. Such a file is not done with: a person
    may import it again, with a lower guard.
    """
    doubts: dict[MemberSubject, ShrunkenError] = {}
    changes: dict[str, Changes] | None = None
    while changes is None:
        try:
            with connection.transaction():
                changes = _merge(connection, settings, run, user_id, export, as_of, left_out=doubts)
        except ShrunkenError as error:
            doubts[error.subject] = error
    for subject in doubts:
        staging.mark_suspicious(connection, user_id, subject)
    if doubts:
        reason = " ".join(map(str, doubts.values()))
        imports.record_refusal(connection, content, run.run_id, reason, user_id=user_id)
    else:
        rows_by_file = _rows_by_file(export)
        imports.record_import(
            connection, content, user_id, run.run_id, as_of=as_of, rows_by_file=rows_by_file
        )
        runs.resolve_failures(connection, "import", user_id=user_id)
    imports.record_joining(connection, user_id, export.joined_on)
    return changes, list(doubts.values())


def _join(connection: psycopg.Connection, slug: str, username: str, user_id: int) -> bool:
    """Have the member belong to the cohort; whether that is new.

    Raises:
        ConfigurationError: the cohort's members are not found by names, and this one is not among them.
    """
    known = [cohort.cohort_id for cohort in cohorts.list_cohorts(connection) if cohort.slug == slug]
    for cohort_id in known:
        if any(member.user_id == user_id for member in members.current_members(connection, cohort_id)):
            return False
    cohort = cohorts.add_named_members(connection, slug, [username])
    members.set_members(connection, cohort.cohort_id, {user_id: 1}, may_end=False)
    return True


def _whose(export: Export, given_name: str | None) -> str:
    given = given_name.strip().lower() if given_name is not None else None
    if given is not None and not cohorts.USERNAME.fullmatch(given):
        raise ConfigurationError("--member is not a user name.")
    if export.username is None and given is None:
        raise ImportFileError("The ZIP does not say whose it is (no profile.csv). Give --member NAME.")
    if given is not None and export.username not in (None, given):
        raise ConfigurationError("The export is another member's than --member says. Leave --member out.")
    username = export.username or given
    assert username is not None
    return username


def _merge(
    connection: psycopg.Connection,
    settings: Settings,
    run: Run,
    user_id: int,
    export: Export,
    as_of: datetime,
    left_out: Collection[MemberSubject],
) -> dict[str, Changes]:
    """Merge every part that the export has; which of them are complete is which files are there.

    Raises:
        ShrunkenError: a part that is not left out holds far less than is stored.
    """
    keys = {film.identity: _key(film) for film in _films_of(export)}
    # All films at once and before anything else is written: that rules out deadlocks.
    resolve_films(connection, list(keys.values()), "export")
    guard = settings.shrink_guard_share
    parts: set[Part] = {"rated"} if "ratings" not in left_out else set()
    if export.likes is not None and "likes" not in left_out:
        parts.add("likes")
    if export.favorites is not None and "profile" not in left_out:
        parts.add("favorites")
    opinions = _opinions(export, keys, parts)
    changes = {
        "opinions": merge_opinions(
            connection,
            user_id,
            opinions,
            complete_parts=frozenset(parts),
            as_of=as_of,
            source="export",
            run_id=run.run_id,
            shrink_guard_share=guard,
        )
    }
    if export.diary is not None and "diary" not in left_out:
        entries = [
            viewings.DiaryEntry(
                key=viewing.key,
                title=viewing.title,
                release_year=viewing.release_year,
                film=keys[viewing.film.identity] if viewing.film is not None else None,
                film_match=viewing.film_match,
                watched_on=viewing.watched_on,
                logged_on=viewing.logged_on,
                rating=viewing.rating,
                rewatch=viewing.rewatch,
                has_review=viewing.has_review,
            )
            for viewing in export.diary
        ]
        changes["diary"] = viewings.merge_diary(
            connection,
            user_id,
            entries,
            complete=True,
            source="export",
            as_of=as_of,
            shrink_guard_share=guard,
        )
    if export.watchlist is not None and "watchlist" not in left_out:
        wanted = [viewings.WatchlistEntry(keys[film.identity], film.recorded_on) for film in export.watchlist]
        changes["watchlist"] = viewings.merge_watchlist(
            connection, user_id, wanted, complete=True, source="export", as_of=as_of, shrink_guard_share=guard
        )
    if export.lists is not None and "lists" not in left_out:
        lists = [
            viewings.FilmList(
                key=film_list.key,
                name=film_list.name,
                films=tuple(keys[film.identity] for film in film_list.films),
                published_on=film_list.published_on,
            )
            for film_list in export.lists
        ]
        changes["lists"] = viewings.merge_lists(
            connection, user_id, lists, complete=True, source="export", as_of=as_of, shrink_guard_share=guard
        )
    return changes


def _films_of(export: Export) -> Iterable[ExportFilm]:
    """Every film that something is stored of. A favourite has only its link: other files name it."""
    yield from export.favorites or ()
    for film_list in export.lists or ():
        yield from film_list.films
    yield from export.watchlist or ()
    yield from export.likes or ()
    yield from (viewing.film for viewing in export.diary or () if viewing.film is not None)
    yield from export.ratings


def _key(film: ExportFilm) -> FilmKey:
    return FilmKey(slug=film.slug, lid=film.lid, title=film.title, release_year=film.release_year)


def _opinions(export: Export, keys: Mapping[str, FilmKey], parts: Collection[Part]) -> list[Opinion]:
    """What the export says of these parts; of the others it says nothing."""
    ratings = {film.identity: film for film in export.ratings if "rated" in parts}
    likes = {film.identity for film in export.likes or () if "likes" in parts}
    favorites = {film.identity for film in export.favorites or () if "favorites" in parts}
    return [
        Opinion(
            film=keys[identity],
            rating=rated.rating if (rated := ratings.get(identity)) else None,
            liked=identity in likes if "likes" in parts else None,
            favorite=identity in favorites if "favorites" in parts else None,
            rated_at=_midnight(rated) if rated else None,
        )
        for identity in {**ratings, **dict.fromkeys(likes), **dict.fromkeys(favorites)}
    ]


def _midnight(film: ExportFilm) -> datetime | None:
    """The day of the rating as a moment: the export knows no more than the day."""
    day = film.recorded_on
    return datetime(day.year, day.month, day.day, tzinfo=UTC) if day is not None else None


def _watched_only_count(export: Export) -> int:
    stored = {film.identity for part in (export.ratings, export.likes or ()) for film in part}
    stored |= {viewing.film.identity for viewing in export.diary or () if viewing.film is not None}
    return sum(film.identity not in stored for film in export.watched or ())


def _rows_by_file(export: Export) -> dict[str, int]:
    """The rows of each file, those of all lists together: their file names are nobody's business."""
    rows: Counter[str] = Counter()
    for name, count in export.rows_by_file.items():
        rows["lists" if name.startswith("lists/") else name] += count
    return dict(rows)


def _add_to_run(run: Run, report: FileReport) -> None:
    run.members_count += report.outcome != "refused"
    run.failures_count += report.outcome == "refused" or bool(report.doubts)
    run.rows_seen += sum(report.rows_by_file.values())
    run.rows_changed += report.total.total - report.total.removed
    run.rows_removed += report.total.removed


def _record_refusal(connection: psycopg.Connection, run: Run, content: bytes, error: AlmanacError) -> str:
    """Remember the refusal, and return it under the file's hash. A wrong option is nobody's refusal."""
    if content and not isinstance(error, ConfigurationError):
        imports.record_refusal(connection, content, run.run_id, str(error))
    return f"{_short(content)}: {error}"


def _short(content: bytes) -> str:
    return f"export {content.hex()[:12] or '(unread)'}"


# -- the inbox -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class InboxFile:
    """A ZIP in the inbox folder, as the file system shows it."""

    name: str
    size: int
    changed_at: float
    """Unix seconds."""

    @property
    def fingerprint(self) -> str:
        """Differs as soon as the file does; does not tell its name."""
        told = f"{self.name}\0{self.size}\0{self.changed_at!r}"
        return hashlib.sha256(os.fsencode(told)).hexdigest()[:16]


def list_inbox(folder: Path) -> list[InboxFile]:
    """The ZIPs in the folder, by name; none if there is no such folder."""
    found = []
    for path in sorted(folder.glob("*")) if folder.is_dir() else ():
        if path.suffix.lower() == ".zip" and not path.name.startswith("."):
            with suppress(OSError):  # somebody took it away since
                status = path.stat()
                if S_ISREG(status.st_mode):
                    found.append(InboxFile(path.name, status.st_size, status.st_mtime))
    return found


def settled(files: Iterable[InboxFile], now: float) -> list[InboxFile]:
    """Those that nobody has written to for a while. `now` in Unix seconds."""
    return [file for file in files if now - file.changed_at >= SETTLED_AFTER.total_seconds()]


def look_at_inbox(
    database_url: str, settings: Settings, cursor: str | None, now: float
) -> tuple[str | None, str]:
    """A key for the run that is due, None if none is; the next cursor. `now` in Unix seconds.

    Due are settled files whose content was neither imported nor refused: what a run left because it
    was killed, or the disk was full, is due again, after 10 minutes, another 20, 40 and so on. The
    cursor spares reading files again, by hash and the time when they were first seen.

    Raises:
        WarehouseError: the database failed or is away.
    """
    # A list was the cursor of an earlier release.
    before = json.loads(cursor) if cursor and cursor.startswith("{") else {}
    seen: dict[str, tuple[str, float]] = {}
    for file in settled(list_inbox(settings.inbox_folder), now):
        with suppress(ImportFileError):  # by its permissions, say: it is due once it can be read
            seen[file.fingerprint] = before.get(file.fingerprint) or (
                _read_file(settings.inbox_folder / file.name, settings.import_max_megabytes)[0].hex(),
                now,
            )
    contents = {bytes.fromhex(content): since for content, since in seen.values()}
    with database_failures(), connect_to(database_url, autocommit=True) as connection:
        due = contents.keys() - imports.known_contents(connection, contents)
    if not due:
        return None, json.dumps(seen)
    since = max(contents[content] for content in due)
    attempt = int(math.log2(1 + max(0, now - since) / AGAIN_AFTER.total_seconds()))
    told = [*sorted(content.hex() for content in due), since, attempt]
    return hashlib.sha256(repr(told).encode()).hexdigest()[:16], json.dumps(seen)


def import_inbox(database_url: str, settings: Settings, run_id: str | None = None) -> ImportReport:
    """Import what is new in the inbox folder: content that was neither imported nor refused before.

    Raises:
        ImportFileError: there were new files and all of them were refused.
        WarehouseError: the database failed or went away; the files before are imported.
    """
    folder = settings.inbox_folder
    paths: dict[bytes, Path] = {}
    for file in settled(list_inbox(folder), time.time()):
        content = file.fingerprint.encode()
        with suppress(ImportFileError):  # it is refused below, alone
            content, _ = _read_file(folder / file.name, settings.import_max_megabytes)
        paths.setdefault(content, folder / file.name)
    with database_failures(), connect_to(database_url, autocommit=True) as connection:
        known = imports.known_contents(connection, paths)
    new = [path for content, path in paths.items() if content not in known]
    report = import_exports(database_url, settings, new, run_id=run_id)
    if report.failures_count and report.failures_count == report.files_count:
        raise ImportFileError(f"Every new file was refused ({report.files_count}), e.g. {report.failures[0]}")
    return report
