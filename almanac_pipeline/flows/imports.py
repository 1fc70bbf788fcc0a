"""Imports the data exports of members: one transaction per file, all of it or nothing.

What a file means is in `sources.export_zip`, how it is stored in `warehouse`. Also decides which
files of the inbox folder are due. Names of files hold the member's: they are in what is returned
for the operator's terminal, and in nothing that is stored or logged.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from stat import S_ISREG
from typing import Literal

import psycopg

from almanac_pipeline.errors import (
    AlmanacError,
    ConfigurationError,
    ImportFileError,
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
from almanac_pipeline.warehouse.connection import connect_to
from almanac_pipeline.warehouse.films import FilmKey, resolve_films
from almanac_pipeline.warehouse.opinions import Changes, Opinion, Part, merge_opinions
from almanac_pipeline.warehouse.runs import Run

# A file that was written to within this time may still grow.
SETTLED_AFTER = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class FileReport:
    """What became of one file. `known`: this content was imported for the member before."""

    file_name: str
    outcome: Literal["imported", "known", "refused"]
    username: str | None = None
    error: str = ""
    """Why it was refused; names the file inside the ZIP and the row, but no member."""
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
        WarehouseError: the database went away; the files before are imported.
    """
    started = time.monotonic()
    if cohort_slug is not None and not cohorts.SLUG.fullmatch(cohort_slug):
        raise ConfigurationError(
            f"{cohort_slug!r} cannot be a cohort's slug: lower-case letters, digits, - and _, at most 63."
        )
    reports: list[FileReport] = []
    failures: list[str] = []
    with (
        connect_to(database_url, autocommit=True) as connection,
        runs.scrape_run(database_url, None, "import", run_id) as run,
        track("exports", len(paths)) as progress,
    ):
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
            _add_to_run(run, report)
            reports.append(report)
            on_file(report)
            progress.advance()
    total = sum((report.total for report in reports), Changes())
    outcomes = Counter(report.outcome for report in reports)
    return ImportReport(
        files_count=len(reports),
        imported_count=outcomes["imported"],
        known_count=outcomes["known"],
        failures_count=outcomes["refused"],
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
    forgetting.require_not_forgotten(connection, username)
    is_new = not imports.is_known_member(connection, username)
    # No cohort's point of view: a former name is taken for its bearer unless somebody else has it now.
    user_id = members.named_users(connection, 0, [username])[username]
    as_of = min(export.as_of, datetime.now(UTC))
    with ExitStack() as held:
        for subject in runs.MEMBER_LOCKS:
            held.enter_context(runs.member_lock(connection, subject, user_id, wait=True))
        is_known = imports.is_imported(connection, content, user_id)
        is_outdated = not is_known and imports.is_outdated(connection, user_id, as_of)
        topic = f"member {user_id} import"
        try:
            with imports.refusing_what_does_not_fit(), connection.transaction():
                changes = (
                    {} if is_known else _store(connection, settings, run, user_id, content, export, as_of)
                )
                joined = cohort_slug is not None and _join(connection, cohort_slug, username, user_id)
        except AlmanacError as error:
            if isinstance(error, ShrunkenError):  # what is stored is kept, and somebody should look
                staging.mark_suspicious(connection, user_id, error.subject)
                alerts.raise_alert(connection, "suspicious", topic, str(error), user_id=user_id)
            if not (is_new and forgetting.drop_if_unused(connection, user_id)):
                runs.record_failure(connection, run, "import", error, user_id=user_id)
                runs.record_member(connection, run, user_id, "failed", error=error)
            raise
        if not (is_known or is_outdated):
            alerts.resolve_alerts(connection, "suspicious", topic)
    matches = Counter(viewing.film_match for viewing in export.diary or ())
    report = FileReport(
        file_name,
        "known" if is_known else "imported",
        username=username,
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
    )
    return report


def _store(
    connection: psycopg.Connection,
    settings: Settings,
    run: Run,
    user_id: int,
    content: bytes,
    export: Export,
    as_of: datetime,
) -> dict[str, Changes]:
    """Merge the export and remember its content, in the caller's transaction."""
    changes = _merge(connection, settings, run, user_id, export, as_of)
    imports.record_import(
        connection,
        content,
        user_id,
        run.run_id,
        as_of=as_of,
        rows_by_file=_rows_by_file(export),
        joined_on=export.joined_on,
    )
    runs.resolve_failures(connection, "import", user_id=user_id)
    return changes


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
) -> dict[str, Changes]:
    """Merge every part that the export has; which of them are complete is which files are there."""
    keys = {film.identity: _key(film) for film in _films_of(export)}
    # All films at once and before anything else is written: that rules out deadlocks.
    resolve_films(connection, list(keys.values()), "export")
    guard = settings.shrink_guard_share
    opinions = _opinions(export, keys)
    parts: set[Part] = {"rated"}
    if export.likes is not None:
        parts.add("likes")
    if export.favorites is not None:
        parts.add("favorites")
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
    if export.diary is not None:
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
    if export.watchlist is not None:
        wanted = [viewings.WatchlistEntry(keys[film.identity], film.recorded_on) for film in export.watchlist]
        changes["watchlist"] = viewings.merge_watchlist(
            connection, user_id, wanted, complete=True, source="export", as_of=as_of, shrink_guard_share=guard
        )
    if export.lists is not None:
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


def _opinions(export: Export, keys: Mapping[str, FilmKey]) -> list[Opinion]:
    ratings = {film.identity: film for film in export.ratings}
    likes = {film.identity for film in export.likes or ()}
    favorites = {film.identity for film in export.favorites or ()}
    return [
        Opinion(
            film=keys[identity],
            rating=rated.rating if (rated := ratings.get(identity)) else None,
            liked=identity in likes if export.likes is not None else None,
            favorite=identity in favorites if export.favorites is not None else None,
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
    run.failures_count += report.outcome == "refused"
    run.rows_seen += sum(report.rows_by_file.values())
    run.rows_changed += report.total.total - report.total.removed
    run.rows_removed += report.total.removed


def _record_refusal(connection: psycopg.Connection, run: Run, content: bytes, error: AlmanacError) -> str:
    """Remember the refusal, and return it under the file's hash. A wrong option is nobody's refusal."""
    if content and not isinstance(error, ConfigurationError):
        imports.record_refusal(connection, content, run.run_id, str(error))
    return f"export {content.hex()[:12] or '(unread)'}: {error}"


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


def look_at_inbox(files: Sequence[InboxFile], cursor: str | None, now: float) -> tuple[str | None, str]:
    """A key for the settled files that the cursor does not hold, None if there are none; the next cursor."""
    seen = set(json.loads(cursor)) if cursor else set()
    present = [file.fingerprint for file in settled(files, now)]
    new = sorted(set(present) - seen)
    key = hashlib.sha256("".join(new).encode()).hexdigest()[:16] if new else None
    return key, json.dumps(sorted(present))


def import_inbox(database_url: str, settings: Settings, run_id: str | None = None) -> ImportReport:
    """Import what is new in the inbox folder: content that was neither imported nor refused before.

    Raises:
        ImportFileError: there were new files and all of them were refused.
        WarehouseError: the database went away; the files before are imported.
    """
    folder = settings.inbox_folder
    paths: dict[bytes, Path] = {}
    for file in settled(list_inbox(folder), time.time()):
        content = file.fingerprint.encode()
        with suppress(ImportFileError):  # it is refused below, alone
            content, _ = _read_file(folder / file.name, settings.import_max_megabytes)
        paths.setdefault(content, folder / file.name)
    with connect_to(database_url, autocommit=True) as connection:
        known = imports.known_contents(connection, paths)
    new = [path for content, path in paths.items() if content not in known]
    report = import_exports(database_url, settings, new, run_id=run_id)
    if report.failures_count and report.failures_count == report.files_count:
        raise ImportFileError(f"Every new file was refused ({report.files_count}), e.g. {report.failures[0]}")
    return report
