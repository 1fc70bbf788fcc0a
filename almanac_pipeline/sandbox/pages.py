"""Renders the site's pages out of a world, in the markup of one era.

Knows templates and page sizes; knows no HTTP server, no faults and no counters. `Site.show` is
the only way in. Posters are rendered once per film and width and kept, since a grid is mostly posters.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from html import escape
from typing import Any, TypeVar

from jinja2 import Environment, PackageLoader
from markupsafe import Markup

from almanac_pipeline.sandbox.options import SandboxOptions
from almanac_pipeline.sandbox.routes import FILM_PEOPLE, Target, member_path
from almanac_pipeline.sandbox.world import Film, Member, Order, Person, World, moment, slugify

T = TypeVar("T")

PAGE_SIZES = {
    "films": 72,
    "rated": 72,
    "rated_by_date": 72,
    "likes": 72,
    "likes_unrated": 72,
    "watchlist": 28,
    "list": 100,
    "following": 25,
    "followers": 25,
    "members": 25,
    "fans": 25,
    "diary": 50,
}
GRID_PATHS = {
    "films": "films/",
    "rated": "films/rated/.5-5/",
    "rated_by_date": "films/rated/.5-5/by/rated-date/",
    "likes": "likes/films/",
    "likes_unrated": "likes/films/rated/none/",
    "watchlist": "watchlist/",
}
FEED_ENTRIES = 50
MAX_KEPT_POSTERS = 50_000
HTML = "text/html;charset=utf-8"
SHARED_CACHE = "s-maxage=300"

PERMISSIVE_ROBOTS = "User-agent: *\nDisallow: /sign-in/\n"
# The same families of paths that the real site closes to everybody, in our own words.
STRICT_ROBOTS = (
    "# One crawler is not welcome at all\n"
    "User-agent: GreedyBot\n"
    "Disallow: /\n\n"
    "User-agent: *\n"
    + "".join(f"Disallow: /*/{part}/*   # {why}\n" for part, why in (
        ("by", "sorted views"),
        ("popular/this", "popularity"),
        ("on", "availability"),
        ("tag", "tags"),
        ("genre", "film filters"),
        ("country", "film filters"),
        ("language", "film filters"),
        ("decade", "film filters"),
        ("friends", "views for one member"),
    ))
    + "Disallow: /films/year/*\nDisallow: /films/*/year/*\nDisallow: /films/*/size/large/*\n"
)  # fmt: skip


@dataclass(frozen=True)
class Page:
    """An answer, not yet sent."""

    status: int
    body: bytes
    media_type: str = HTML
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Pager:
    """The links below a page of many. `numbers` holds (number, href), href None for the page itself."""

    shown: bool
    previous: str | None
    next: str | None
    numbered: bool
    numbers: tuple[tuple[int | None, str | None], ...]


@dataclass(frozen=True)
class Bar:
    """One level of a rating histogram. `share` is of the tallest bar, 0 to 1."""

    count: int
    label: str
    path: str
    caption: str
    short: str
    share: float


class Missing(Exception):
    """There is no such page."""


class Hidden(Exception):
    """The member hid their account."""

    def __init__(self, status: int) -> None:
        super().__init__()
        self.status = status


class Site:
    """The pages of one world in one era."""

    def __init__(self, world: World, options: SandboxOptions) -> None:
        self.world = world
        self.options = options
        self.era = options.markup
        self.classic = options.markup in ("2023", "2024")
        self.templates = Environment(
            loader=PackageLoader("almanac_pipeline.sandbox"),
            autoescape=True,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self.templates.filters.update(
            counted=counted, thousands=thousands, starred=starred, slug=slugify, server_date=server_date
        )
        self.templates.globals.update(era=self.era, classic=self.classic, histogram=options.histogram_markup)
        self._poster = self.templates.get_template(
            f"poster_{self.era}.html" if self.classic else "poster.html"
        )
        self._posters: dict[tuple[int, int, int], Markup] = {}

    def show(self, target: Target, base: str, *, empty: bool = False) -> Page:
        """The page of a target; `empty` leaves out every item of it, as the site does on a bad day.

        `base` is the scheme and host that absolute links start with. A missing page is a 404 page.
        """
        try:
            if target.member is not None:
                if target.member in self.world.former_names:
                    moved = member_path(target, self.world.former_names[target.member])
                    return Page(301, b"", headers=(("location", moved),))
                return self._member_page(target, self._member(target.member), base, empty)
            return self._site_page(target, base, empty)
        except Missing:
            return self.message(
                404, "Letterboxd - Not Found", "error message-dark", "There is no such page here."
            )
        except Hidden as hidden:
            return self.message(hidden.status, "Letterboxd - Private", "error", "This account is private.")

    def message(self, status: int, title: str, body_class: str, text: str) -> Page:
        """A bare page that says one sentence."""
        return Page(status, self._render("message.html", title=title, body_class=body_class, text=text))

    def _render(self, template: str, **values: Any) -> bytes:
        return self.templates.get_template(template).render(**values).encode()

    def _member(self, name: str) -> Member:
        member = self.world.member(name)
        if member is None:
            raise Missing
        if member.hidden_status is not None:
            raise Hidden(member.hidden_status)
        return member

    def _site_page(self, target: Target, base: str, empty: bool) -> Page:
        if target.kind == "robots":
            strict = self.options.robots == "strict"
            return Page(
                200, (STRICT_ROBOTS if strict else PERMISSIVE_ROBOTS).encode(), "text/plain;charset=utf-8"
            )
        if target.name is None:
            raise Missing
        if target.kind == "director":
            return self._director(target.name, base, empty)
        if target.kind == "import":
            return self._import(target.name, base)
        film = self.world.film_by_slug(target.name)
        if film is None:
            raise Missing
        if film.slug != target.name:
            paths = {
                "film": "/film/%s/",
                "film_json": "/film/%s/json/",
                "histogram": self._histogram_path,
                "members": "/film/%s/members/",
                "fans": "/film/%s/fans/",
            }
            return Page(301, b"", headers=(("location", paths[target.kind] % film.slug),))
        if target.kind == "film_json":
            return self._film_json(film)
        if target.kind in FILM_PEOPLE:
            return self._film_people(target, film, base, empty)
        if empty:
            return Page(200, b"")
        if target.kind == "histogram":
            return self._histogram(film)
        return self._film(film, base)

    # Members

    def _member_page(self, target: Target, member: Member, base: str, empty: bool) -> Page:
        kind = target.kind
        if kind == "profile":
            return self._profile(member, base, empty)
        if kind in ("following", "followers"):
            return self._people(target, member, base, empty)
        if kind == "diary":
            return self._diary(target, member, base, empty)
        if kind == "list":
            return self._list(target, member, base, empty)
        if kind == "rss":
            return self._feed(member, base, empty)
        if kind in GRID_PATHS:
            return self._grid(target, member, base, empty)
        raise Missing

    def _frame(
        self, member: Member, base: str, path: str, page: int, heading: str, body_class: str
    ) -> dict[str, Any]:
        """What the frame around every page of a member needs."""
        suffix = f"page/{page}/" if page > 1 else ""
        return {
            "member": member,
            "base": base,
            "canonical": f"/{member.key}/{path}{suffix}",
            "heading": heading,
            "body_class": body_class,
            "body_attributes": Markup(' data-owner="{}"').format(member.username),
        }

    def _child_class(self, name: str) -> str:
        return name if self.classic else f"screen-member-child-page {name}"

    def _grid(self, target: Target, member: Member, base: str, empty: bool) -> Page:
        kind, path = target.kind, GRID_PATHS[target.kind]
        order: Order = target.kind  # type: ignore[assignment]  # the grids are exactly the orders
        numbers = () if empty else self.world.order(member, order)
        shown = _slice(numbers, target.page, PAGE_SIZES[kind])
        width = 125 if kind == "watchlist" else 70
        template, body, thing = {
            "watchlist": ("watchlist.html", "watchlist wide", "watchlist"),
            "likes": ("likes.html", "likes wide small-poster-grid", "liked films"),
            "likes_unrated": ("likes.html", "likes wide small-poster-grid", "liked films"),
        }.get(kind, ("films.html", "films-watched wide small-poster-grid", "films"))
        frame = self._frame(
            member,
            base,
            path,
            target.page,
            f"{member.display_name}’s {thing}",
            self._child_class(body),
        )
        pager = make_pager(
            f"/{member.key}/{path}",
            target.page,
            len(numbers),
            PAGE_SIZES[kind],
            numbered=template != "likes.html",
        )
        items = [(self.poster(self.world.films[n], width), self._viewing_data(member, n)) for n in shown]
        return _private_page(
            self._render(
                template,
                **frame,
                items=items,
                total=len(numbers),
                diary_total=len(member.diary),
                label="Watched" if kind == "films" else "Rated",
                pager=pager,
            ),
            member,
        )

    def _viewing_data(self, member: Member, number: int) -> Markup:
        """The paragraph under a poster: the owner's rating, like and review mark."""
        opinion = member.opinions.get(number)
        parts = []
        classes = "poster-viewingdata"
        if opinion is not None and opinion.rating is not None:
            size = "-tiny" if self.classic else "-micro"
            rating = opinion.rating
            parts.append(f'<span class="rating {size} -darker rated-{rating}">{starred(rating)}</span> ')
        if opinion is not None and opinion.liked_at is not None:
            liked = "like" if self.classic else "like liked-micro"
            parts.append(
                f'<span class="{liked} has-icon icon-liked icon-16"><span class="icon"></span></span> '
            )
            classes += " -rated-and-liked" if self.classic and opinion.rating is not None else ""
        uid = "" if self.era == "2023" else f' data-item-uid="film:{number}"'
        return Markup(f'<p class="{classes}"{uid}> {"".join(parts)}</p>')

    def _people(self, target: Target, member: Member, base: str, empty: bool) -> Page:
        world, kind = self.world, target.kind
        following, followers = world.following(member), world.followers(member)
        everyone = [] if empty else following if kind == "following" else followers
        rows = [
            {
                "member": other,
                "followers": world.followers_count(other),
                "following": len(other.following),
                "films": len(other.opinions),
                "likes": len(world.order(other, "likes")),
            }
            for other in _slice(everyone, target.page, PAGE_SIZES[kind])
        ]
        heading = f"{member.display_name}’s {'network' if kind == 'following' else 'followers'}"
        return _private_page(
            self._render(
                "people.html",
                **self._frame(member, base, f"{kind}/", target.page, heading, self._child_class(kind)),
                kind=kind,
                people=rows,
                following_total=len(everyone) if kind == "following" else len(following),
                followers_total=len(everyone) if kind == "followers" else len(followers),
                pager=make_pager(
                    f"/{member.key}/{kind}/", target.page, len(everyone), PAGE_SIZES[kind], numbered=False
                ),
            ),
            member,
        )

    def _profile(self, member: Member, base: str, empty: bool) -> Page:
        world = self.world
        favorites = [] if empty else [world.films[number] for number in member.favorites]
        recent = [] if empty else world.order(member, "rated_by_date")[:4]
        films_total = 0 if empty else len(member.opinions)
        counts = [0] * 10
        for opinion in [] if empty else member.opinions.values():
            if opinion.rating is not None:
                counts[opinion.rating - 1] += 1
        year = moment(world.now).year
        description = f"{member.display_name} keeps a film diary here. {films_total:,} films watched."
        if favorites:
            description += f" Favorites: {', '.join(film.full_name for film in favorites)}."
        body_class = "profile" if self.era != "2026" else "screen-member-profile"
        body = self._render(
            "profile.html",
            **self._frame(member, base, "", 1, f"{member.display_name}’s profile", body_class),
            description=description,
            favorites=[self.poster(film, 150, f"/{member.key}/film/{film.slug}/") for film in favorites],
            recent=[(self.poster(world.films[n], 150), self._viewing_data(member, n)) for n in recent],
            films_total=films_total,
            year=year,
            year_total=sum(viewing.watched_on.year == year for viewing in member.diary),
            following_total=len(world.following(member)),
            followers_total=world.followers_count(member),
            ratings_total=sum(counts),
            bars=make_bars(counts),
        )
        return Page(200, body, headers=_identity("Member", member.lid))

    def _list(self, target: Target, member: Member, base: str, empty: bool) -> Page:
        film_list = next((each for each in member.lists if each.slug == target.name), None)
        if film_list is None:
            raise Missing
        numbers = [] if empty else film_list.films
        size = PAGE_SIZES["list"]
        first = (target.page - 1) * size
        entries = []
        for place, number in enumerate(_slice(numbers, target.page, size), start=first):
            opinion = member.opinions.get(number)
            entries.append(
                {
                    "place": place,
                    "poster": self.poster(self.world.films[number], 125),
                    "rating": (opinion.rating or 0) if opinion else 0,
                }
            )
        path = f"list/{film_list.slug}/"
        body = self._render(
            "list.html",
            **self._frame(member, base, path, target.page, film_list.name, "list-page backdropped"),
            description=f"A list of {len(numbers):,} films compiled by {member.display_name}.",
            page_title=f"{film_list.name}, a list of films by {member.display_name}",
            film_list=film_list,
            published=moment(film_list.published_at).isoformat(),
            entries=entries,
            pager=make_pager(f"/{member.key}/{path}", target.page, len(numbers), size, numbered=True),
        )
        return _private_page(body, member)

    def _diary(self, target: Target, member: Member, base: str, empty: bool) -> Page:
        rows = [] if empty else self._diary_rows(member)
        size = PAGE_SIZES["diary"]
        shown = _slice(rows, target.page, size)
        month: tuple[int, int] | None = None
        for row in shown:
            day = row["viewing"].watched_on
            row["new_month"] = month != (day.year, day.month)
            month = (day.year, day.month)
            row["poster"] = self.poster(row["film"], 35, row["link"])
        path = "diary/" if target.page == 1 else "diary/films/"
        heading = f"{member.display_name}’s film diary"
        body = self._render(
            "diary.html",
            **self._frame(member, base, path, target.page, heading, self._child_class("diary films-diary")),
            rows=shown,
            total=len(rows),
            pager=make_pager(
                f"/{member.key}/diary/films/",
                target.page,
                len(rows),
                size,
                numbered=True,
                first=f"/{member.key}/diary/",
            ),
        )
        return _private_page(body, member)

    def _diary_rows(self, member: Member) -> list[dict[str, Any]]:
        """Viewings with films and links, the latest evening first; later viewings of a film are numbered."""
        times_seen: dict[int, int] = {}
        rows = []
        for viewing in reversed(self.world.diary(member)):
            film = self.world.films[viewing.film]
            seen = times_seen[film.number] = times_seen.get(film.number, 0) + 1
            link = f"/{member.key}/film/{film.slug}/" + (f"{seen - 1}/" if seen > 1 else "")
            rows.append({"viewing": viewing, "film": film, "link": link})
        return rows[::-1]

    def _feed(self, member: Member, base: str, empty: bool) -> Page:
        rows = [] if empty else sorted(self._diary_rows(member), key=lambda row: -row["viewing"].logged_at)
        body = self._render(
            "rss.xml",
            base=base,
            member=member,
            entries=rows[:FEED_ENTRIES],
            lists=[] if empty else sorted(member.lists, key=lambda each: -each.published_at)[:FEED_ENTRIES],
            films=self.world.films,
        )
        return Page(200, body, "application/rss+xml;charset=utf-8", (("cache-control", "no-store"),))

    # Films

    def poster(self, film: Film, width: int, link: str | None = None) -> Markup:
        """A film's poster, `width` pixels wide, without its owner's rating."""
        if link is not None:
            return self._render_poster(film, width, link)
        key = (film.number, film.version, width)
        kept = self._posters.get(key)
        if kept is None:
            if len(self._posters) >= MAX_KEPT_POSTERS:
                self._posters.clear()
            kept = self._posters[key] = self._render_poster(film, width, f"/film/{film.slug}/")
        return kept

    def _render_poster(self, film: Film, width: int, link: str) -> Markup:
        identifier = {"lid": film.lid, "uid": film.uid, "type": "film", "typeName": "film"}
        poster_path = {
            "postered": identifier,
            "posteredBaseLink": f"/film/{film.slug}/",
            "isAdultThemed": False,
            "hasDefaultPoster": True,
            "cacheBustingKey": f"{film.number:08x}",
        }
        return Markup(
            self._poster.render(
                film=film,
                width=width,
                height=width * 3 // 2,
                link=link,
                identifier=_json_attribute(identifier),
                poster_path=_json_attribute(poster_path),
            ).rstrip()
        )

    @property
    def _histogram_path(self) -> str:
        fragment = "rating-histogram" if self.options.histogram_markup == "new" else "ratings-summary"
        return f"/csi/film/%s/{fragment}/"

    def _film(self, film: Film, base: str) -> Page:
        directed = (
            f" directed by {', '.join(person.name for person in film.directors)}" if film.directors else ""
        )
        attributes = {
            "data-type": "film",
            "data-tmdb-type": "movie",
            "data-tmdb-id": "" if film.media_type == "tv" or film.tmdb_id is None else film.tmdb_id,
        }
        others = (self.world.films.get(film.number + step) for step in (1, 2))
        body = self._render(
            "film.html",
            base=base,
            canonical=f"/film/{film.slug}/",
            heading=film.full_name,
            page_title=f"{film.full_name}{directed}",
            description=f"{film.title} is a film that tells its story in pictures.",
            body_class="film backdropped",
            body_attributes=Markup("").join(Markup(' {}="{}"').format(*pair) for pair in attributes.items()),
            film=film,
            poster=self.poster(film, 230),
            average=film.average,
            fans=fans(film.fans),
            histogram_path=self._histogram_path % film.slug,
            related=[self.poster(other, 110) for other in others if other is not None],
            linked_data=Markup(linked_data(film, base)),
        )
        return Page(200, body, headers=(*_identity("Film", film.lid), ("cache-control", SHARED_CACHE)))

    def _histogram(self, film: Film) -> Page:
        """The fragment with everybody's ratings; blank for a film that nobody rated."""
        if not film.released:
            raise Missing
        if not film.ratings:
            return Page(200, b"")
        average = film.average
        caption = (
            f"Weighted average of {average:.2f} based on {film.stated_ratings:,} ratings" if average else ""
        )
        body = self._render(
            f"histogram_{self.options.histogram_markup}.html",
            film=film,
            bars=make_bars(film.counts),
            average=average,
            average_caption=caption,
            fans=fans(film.fans),
        )
        return Page(200, body, headers=(("cache-control", SHARED_CACHE),))

    def _film_people(self, target: Target, film: Film, base: str, empty: bool) -> Page:
        """Who has seen a film, or calls it a favourite."""
        kind, size = target.kind, PAGE_SIZES[target.kind]
        everyone = [] if empty else self.world.film_people(film, kind)
        path = f"/film/{film.slug}/{kind}/"
        body = self._render(
            "film_people.html",
            base=base,
            canonical=path + (f"page/{target.page}/" if target.page > 1 else ""),
            heading=f"{'Fans' if kind == 'fans' else 'Members who have seen'} {film.full_name}",
            body_class="film" if self.classic else "screen-production-activity",
            body_attributes="",
            film=film,
            kind=kind,
            total=len(everyone),
            people=[
                (member, member.opinions.get(film.number)) for member in _slice(everyone, target.page, size)
            ],
            pager=make_pager(path, target.page, len(everyone), size, numbered=False),
        )
        return Page(200, body, headers=(("cache-control", SHARED_CACHE),))

    def _film_json(self, film: Film) -> Page:
        document = {
            "result": True,
            "csrf": "00000000000000000000",
            "lid": film.lid,
            "id": film.number,
            "uid": film.uid,
            "name": film.title,
            "type": "film",
            "typeName": "film",
            "image125": f"/film/{film.slug}/image-125/",
            "image150": f"/film/{film.slug}/image-150/",
            "releaseYear": film.year,
            "runTime": film.runtime_minutes,
            "slug": film.slug,
            "url": f"/film/{film.slug}/",
            "originalName": film.original_title,
            "filmlistAction": f"/ajax/{film.uid}/filmlistentry",
            "watchlistAction": f"/film/{film.slug}/add-to-watchlist/",
            "directors": [{"name": person.name} for person in film.directors],
        }
        return Page(200, json.dumps(document).encode(), "application/json;charset=utf-8")

    def _director(self, slug: str, base: str, empty: bool) -> Page:
        found: tuple[Person, list[Film]] | None = self.world.filmographies.get(slug)
        if found is None:
            raise Missing
        person, films = found
        body = self._render(
            "director.html",
            base=base,
            canonical=f"/director/{slug}/",
            heading=f"Films directed by {person.name}",
            body_class="wide crew-page filmography-page",
            body_attributes=Markup(
                f' data-type="director" data-tmdb-type="person" data-tmdb-id="{person.number}"'
            ),
            person=person,
            items=[] if empty else [(film, self.poster(film, 150)) for film in films],
        )
        return Page(200, body, headers=(("cache-control", SHARED_CACHE),))

    def _import(self, name: str, base: str) -> Page:
        """Redirect from a TMDB or IMDb id to the film; an unknown one answers 200 with a page of no film."""
        site, _, number = name.partition("/")
        film = None
        if site == "imdb":
            film = self.world.films_by_imdb.get(number)
        elif number.isdigit():
            film = self.world.films_by_tmdb.get(("movie", int(number)))
        if film is not None:
            return Page(302, b"", headers=(("location", f"/film/{film.slug}/"),))
        heading = f"{site.upper() if site == 'tmdb' else 'IMDb'} Import Result"
        return Page(
            200,
            self._render(
                "import_result.html",
                base=base,
                canonical=f"/{name}/",
                heading=heading,
                body_class="",
                body_attributes="",
            ),
        )


def _private_page(body: bytes, member: Member) -> Page:
    return Page(200, body, headers=(*_identity("Member", member.lid), ("cache-control", "no-store")))


def _identity(kind: str, lid: str) -> tuple[tuple[str, str], tuple[str, str]]:
    return ("x-letterboxd-type", kind), ("x-letterboxd-identifier", lid)


def _slice(items: Sequence[T], page: int, size: int) -> Sequence[T]:
    return items[(page - 1) * size : page * size]


def _json_attribute(document: dict[str, Any]) -> Markup:
    return Markup(escape(json.dumps(document, separators=(",", ":"))))


def make_pager(
    path: str, page: int, total: int, size: int, *, numbered: bool, first: str | None = None
) -> Pager:
    """The links of page `page`, counted from 1; none where all fits on one page or past the end."""
    last = max(1, -(-total // size))

    def href(number: int) -> str:
        return (first or path) if number == 1 else f"{path}page/{number}/"

    near = {1, last, *range(max(1, page - 2), min(last, page + 2) + 1)}
    numbers: list[tuple[int | None, str | None]] = []
    before = 0
    for number in sorted(near):
        if number > before + 1:
            numbers.append((None, None))
        numbers.append((number, None if number == page else href(number)))
        before = number
    return Pager(
        shown=last > 1 and page <= last,
        previous=href(page - 1) if page > 1 else None,
        next=href(page + 1) if page < last else None,
        numbered=numbered,
        numbers=tuple(numbers),
    )


def make_bars(counts: Sequence[int]) -> list[Bar]:
    """The ten bars of a histogram, half a star first."""
    total, highest = sum(counts), max(counts)
    bars = []
    for level, count in enumerate(counts, start=1):
        label = "half-★" if level == 1 else starred(level)
        percent = f"({100 * count / total:.0f}%)" if total else ""
        caption = (
            f"{count:,} {label} rating{'' if count == 1 else 's'} {percent}"
            if count
            else f"No {label} ratings"
        )
        whole, half = divmod(level, 2)
        bars.append(
            Bar(
                count=count,
                label=label,
                path=(str(whole) if whole else "") + ("%C2%BD" if half else ""),
                caption=caption,
                short=f"{abbreviated(count)} {percent}",
                share=count / highest if highest else 0.0,
            )
        )
    return bars


def linked_data(film: Film, base: str) -> str:
    """The film as JSON-LD, safe inside a script element."""
    document: dict[str, Any] = {
        "image": f"{base}/static/poster/{film.number}-0-230-0-345-crop.jpg",
        "@type": "Movie",
        "director": [
            {"@type": "Person", "name": person.name, "sameAs": f"/director/{person.slug}/"}
            for person in film.directors
        ],
        "@context": "http://schema.org",
        "url": f"{base}/film/{film.slug}/",
        "actors": [
            {"@type": "Person", "name": person.name, "sameAs": f"/actor/{person.slug}/"}
            for person in film.cast
        ],
        "name": film.title,
        "genre": list(film.genres),
        "@id": f"{base}/film/{film.slug}/",
        "countryOfOrigin": [{"@type": "Country", "name": country} for country in film.countries],
    }
    document = {key: value for key, value in document.items() if value}
    if film.year is not None:
        document["releasedEvent"] = [{"@type": "PublicationEvent", "startDate": str(film.year)}]
    if film.average is not None:
        document["aggregateRating"] = {
            "bestRating": 5,
            "reviewCount": film.ratings // 4,
            "@type": "aggregateRating",
            "ratingValue": film.average,
            "ratingCount": film.stated_ratings,
            "worstRating": 0,
        }
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).replace("</", "<\\/")


def counted(number: int, singular: str, plural: str | None = None) -> Markup:
    """A number with its noun, e.g. 1,234 films, joined by a no-break space."""
    return Markup(f"{number:,}&nbsp;{singular if number == 1 else plural or singular + 's'}")


def thousands(number: int) -> str:
    """A number with commas between its thousands."""
    return f"{number:,}"


def abbreviated(number: int) -> str:
    """A number as the site shortens it: 956, 23.4K, 111K, 1.2M."""
    for limit, unit in ((1_000_000, "M"), (10_000, "K")):
        if number >= limit:
            value = number / (1_000_000 if unit == "M" else 1_000)
            return f"{value:.0f}{unit}" if value >= 100 else f"{value:.1f}".removesuffix(".0") + unit
    return f"{number:,}"


def fans(number: int) -> str:
    """How many call a film a favourite, as the site words it."""
    return f"{abbreviated(number)} {'fan' if number == 1 else 'fans'}"


def starred(half_stars: int) -> str:
    """Half-stars as star signs, e.g. 7 as ★★★½."""
    return "★" * (half_stars // 2) + "½" * (half_stars % 2)


def server_date(seconds: int) -> str:
    """A time as the feed writes it: RFC 822 with the offset of New Zealand, roughly by season."""
    utc = moment(seconds)
    hours = 12 if 4 <= utc.month <= 9 else 13
    return (utc + timedelta(hours=hours)).strftime("%a, %-d %b %Y %H:%M:%S ") + f"+{hours}00"
