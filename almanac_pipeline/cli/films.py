"""`almanac films`: the films, and which TMDB title each of them is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer
from rich.markup import escape

from almanac_pipeline.cli.common import console, database
from almanac_pipeline.cli.tables import plain_table

if TYPE_CHECKING:
    from almanac_pipeline.warehouse.matches import KnownCandidate, MatchedFilm

app = typer.Typer(help="Films, and what TMDB knows of them.", no_args_is_help=True)
match = typer.Typer(help="Say which TMDB title a film is, where that is uncertain.", no_args_is_help=True)
app.add_typer(match, name="match")

FilmArgument = typer.Argument(
    metavar="FILM", help="Slug, LID, uid (film:123), or the number that `list` shows."
)
SHOWN_CANDIDATES = 2


@app.command()
def queue(
    cohort: str | None = typer.Option(None, "--cohort", "-c", help="Only films of this cohort's members."),
    limit: int = typer.Option(20, "--limit", "-n", min=1, help="How many, those that most have seen first."),
) -> None:
    """List the films that lack something, and what: pages, TMDB's entry, single fields, histograms.

    Example: `almanac films queue --cohort friends`
    """
    from almanac_pipeline.warehouse.cohorts import get_cohort
    from almanac_pipeline.warehouse.upkeep import films_needing_enrichment

    with database() as connection:
        cohort_id = get_cohort(connection, cohort).cohort_id if cohort else None
        films = films_needing_enrichment(connection, cohort_id)
    if not films:
        console.print("No film lacks anything.")
        return
    table = plain_table("number>", "film", "seen by>", "state", "lacks", "not asked before (UTC)")
    for film in films[:limit]:
        table.add_row(
            str(film.film_id),
            escape(film.title if film.release_year is None else f"{film.title} ({film.release_year})"),
            str(film.watchers_count),
            film.status,
            ", ".join(film.reasons),
            f"{film.next_attempt_at:%Y-%m-%d %H:%M}",
        )
    console.print(table)
    if len(films) > limit:
        console.print(f"and {len(films) - limit:,} more: --limit {len(films)}", highlight=False)


@match.command("list")
def list_(
    limit: int = typer.Option(50, "--limit", "-n", min=1, help="How many, those that most have seen first."),
) -> None:
    """List the films that wait for somebody to say which TMDB title they are, with the best candidates.

    Example: `almanac films match list`
    """
    from almanac_pipeline.warehouse.matches import waiting_films

    with database() as connection:
        films = waiting_films(connection)
    if not films:
        console.print("No film waits for a choice.")
        return
    table = plain_table("number>", "film", "seen by>", "may be", "asked again (UTC)")
    for film in films[:limit]:
        best = [_short(candidate) for candidate in film.candidates[:SHOWN_CANDIDATES]]
        more = len(film.candidates) - len(best)
        table.add_row(
            str(film.film_id),
            escape(film.name),
            str(film.watchers_count),
            escape("\n".join([*best, *([f"and {more} more"] if more else [])]) or _nothing(film)),
            f"{film.next_attempt_at:%Y-%m-%d %H:%M}",
        )
    console.print(table)
    if len(films) > limit:
        console.print(f"and {len(films) - limit:,} more: --limit {len(films)}", highlight=False)
    console.print(
        "`almanac films match show FILM` tells why; `almanac films match set FILM movie:123` or "
        "`almanac films match skip FILM` settles it.",
        highlight=False,
    )


@match.command()
def show(film: str = FilmArgument) -> None:
    """Show which TMDB title a film is and who says so, or what it may be and why.

    Example: `almanac films match show black-rain-1989`
    """
    from almanac_pipeline.warehouse.matches import find_film, matched_film

    with database() as connection:
        found = matched_film(connection, find_film(connection, film))
    ids = [f"number {found.film_id}", found.slug, found.uid, found.lid and f"lid:{found.lid}"]
    console.print(f"[bold]{escape(found.name)}[/]  {escape(', '.join(filter(None, ids)))}", highlight=False)
    console.print(escape(_state(found)), highlight=False)
    if not found.candidates:
        return
    table = plain_table("title", "votes>", "score>", "why", "TMDB")
    for candidate in found.candidates:
        name = candidate.title
        if candidate.original_title not in (None, candidate.title):
            name += f" / {candidate.original_title}"
        table.add_row(
            escape(f"{name} ({candidate.release_year or 'undated'})"),
            f"{candidate.vote_count or 0:,}",
            f"{candidate.score:.2f}",
            escape(", ".join(candidate.reasons)),
            f"{candidate.media_type}:{candidate.tmdb_id}",
        )
    console.print(table)


@match.command("set")
def set_(
    film: str = FilmArgument,
    title: str = typer.Argument(metavar="TITLE", help="movie:123, tv:123, or the address of its TMDB page."),
) -> None:
    """Say which TMDB title a film is. It is fetched by the next enrichment; nothing else changes it again.

    Example: `almanac films match set black-rain-1989 movie:4105`
    """
    from almanac_pipeline.warehouse.matches import choose, find_film, matched_film, title_key

    media_type, tmdb_id = title_key(title)
    with database() as connection:
        film_id = find_film(connection, film)
        choose(connection, film_id, media_type, tmdb_id)
        name = matched_film(connection, film_id).name
    console.print(
        f"{escape(name)} is {media_type}:{tmdb_id} from now on; `almanac enrich` fetches it.", highlight=False
    )


@match.command()
def skip(film: str = FilmArgument) -> None:
    """Say that TMDB has no title for a film: it is not looked for again. `set` takes that back.

    Example: `almanac films match skip 1234`
    """
    from almanac_pipeline.warehouse import matches

    with database() as connection:
        film_id = matches.find_film(connection, film)
        matches.skip(connection, film_id)
        name = matches.matched_film(connection, film_id).name
    console.print(f"{escape(name)} is no TMDB title and is not looked for again.", highlight=False)


def _short(candidate: KnownCandidate) -> str:
    return (
        f"{candidate.title} ({candidate.release_year or 'undated'}) "
        f"{candidate.media_type}:{candidate.tmdb_id} {candidate.score:.2f}"
    )


def _nothing(film: MatchedFilm) -> str:
    """Why a film that waits has no candidates."""
    if film.tmdb_id is None:
        return "nothing like it"
    return f"{film.tmdb_media_type}:{film.tmdb_id} is gone"


_WHO = {
    "page": "its page says so",
    "feed": "a feed says so",
    "attributes": "its page says so, though without a link",
    "imdb": "it has the same IMDb id",
    "search": "found by title and year",
    "person": "chosen by a person",
}


def _state(film: MatchedFilm) -> str:
    """One line on what is known of the match."""
    again = f"asked again after {film.next_attempt_at:%Y-%m-%d %H:%M} UTC"
    if film.tmdb_id is not None:
        who = _WHO[film.matched_by] if film.matched_by else "its page or a feed says so"
        gone = f"; TMDB has no title of this number; {again}" if film.is_unknown_to_tmdb else ""
        return f"{film.tmdb_media_type}:{film.tmdb_id}, {who}{gone}"
    if film.status == "overridden":
        return "no TMDB title, chosen by a person"
    if film.status == "failed":
        return f"could not be read: {film.last_error}; {again}"
    words = {
        "pending": "not looked for yet",
        "fetched": "its page was read; TMDB is still to be asked",
        "ambiguous": f"more than one title may be meant, or an uncertain one; {again}",
        "not_found": f"nothing like it was found; {again}",
    }
    return words[film.status]
