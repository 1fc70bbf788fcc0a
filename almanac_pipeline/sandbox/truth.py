"""What is true in a world, as JSON for whoever compares it with what was read from the pages."""

from __future__ import annotations

from typing import Any

from almanac_pipeline.sandbox.world import Film, Member, World, moment, stars


def member_truth(world: World, member: Member) -> dict[str, Any]:
    """All that is true of a member: films by uid, times in ISO, newest first where there is an order."""
    films = world.films
    rated = world.order(member, "rated_by_date")
    return {
        "username": member.username,
        "lid": member.lid,
        "hidden_status": member.hidden_status,
        "ratings": {films[n].uid: stars(member.opinions[n].rating or 0) for n in rated},
        "rated_at": {films[n].uid: moment(member.opinions[n].rated_at or 0).isoformat() for n in rated},
        "likes": [films[n].uid for n in world.order(member, "likes")],
        "watched": [films[n].uid for n in world.order(member, "films")],
        "favorites": [films[n].uid for n in member.favorites],
        "following": [other.key for other in world.following(member)],
        "watchlist": [films[n].uid for n in world.order(member, "watchlist")],
        "diary": [
            {
                "viewing_id": str(viewing.number),
                "film": films[viewing.film].uid,
                "watched_on": viewing.watched_on.isoformat(),
                "rating": None if viewing.rating is None else stars(viewing.rating),
                "rewatch": viewing.rewatch,
                "liked": viewing.liked,
                "review": viewing.review is not None,
            }
            for viewing in world.diary(member)
        ],
    }


def film_truth(film: Film) -> dict[str, Any]:
    """All that is true of a film."""
    return {
        "uid": film.uid,
        "lid": film.lid,
        "slug": film.slug,
        "title": film.title,
        "year": film.year,
        "media_type": film.media_type,
        "tmdb_id": film.tmdb_id,
        "imdb_id": film.imdb_id,
        "runtime_minutes": film.runtime_minutes,
        "original_title": film.original_title,
        "directors": [person.name for person in film.directors],
        "genres": list(film.genres),
        "countries": list(film.countries),
        "released": film.released,
        "counts": film.counts,
        "average": film.average,
        "stated_ratings": film.stated_ratings,
    }
