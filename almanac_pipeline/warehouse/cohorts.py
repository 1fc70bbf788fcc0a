"""Cohorts: what they are called and how their members are found. Membership itself is in `members`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from almanac_pipeline.errors import ConfigurationError
from almanac_pipeline.warehouse.forgetting import NAME_LISTS, forgotten, hold_off
from almanac_pipeline.warehouse.members import ensure_users

SLUG = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
# First key of our advisory lock on a cohort's names; arbitrary but fixed, the second is of the slug.
COHORT_LOCK = 7_203_150
USERNAME = re.compile(r"[a-z0-9_-]{1,64}")
SITE_SLUG = re.compile(r"[^\s/?#\\%]{1,300}")
MAXIMUM_DEPTH = 3
FILM_PEOPLE = 100
"""How many people of a film belong to a circle unless the definition says otherwise."""
LIST_FILMS = 20
"""How many films of a list are asked for their people unless the definition says otherwise."""


@dataclass(frozen=True, slots=True)
class Cohort:
    """A circle of members, found by its definition."""

    cohort_id: int
    slug: str
    label: str
    definition: dict[str, Any]
    """As stored; `definition_of` fills in what an earlier release did not know."""
    status: str
    seed_user_id: int | None
    """Who the circle was made from: the seed, or the owner of the list."""


def definition_of(cohort: Cohort) -> dict[str, Any]:
    """What the cohort is found by, with every key present. A row that somebody inserted may hold anything.

    Raises:
        ConfigurationError: the definition is malformed; the message names the cohort.
    """
    try:
        return validated_definition(cohort.definition)
    except ConfigurationError as error:
        raise ConfigurationError(
            f"The definition of the cohort {cohort.slug} cannot be used: {error}"
        ) from None


def validated_definition(definition: Mapping[str, Any]) -> dict[str, Any]:
    """The definition with user names in lower case and every key present.

    docs/cohorts.md describes the kinds and their keys. All kinds but `usernames` know the filters
    `min_films`, `min_likes`, `max_members` and `exclude`.

    Raises:
        ConfigurationError: something is missing, unknown or malformed; the message names it.
    """
    kind = definition.get("kind") if isinstance(definition, Mapping) else None
    if not isinstance(kind, str) or kind not in _KINDS:
        raise ConfigurationError(f"A cohort's kind is one of {', '.join(_KINDS)}, not {kind!r}.")
    known = _KINDS[kind]
    if unknown := set(definition) - known.keys() - {"kind"}:
        names = ", ".join(sorted(known))
        raise ConfigurationError(f"A cohort of kind {kind} knows {names}, not {', '.join(sorted(unknown))}.")
    return {"kind": kind} | {key: read(key, definition.get(key)) for key, read in known.items()}


def create_cohort(
    connection: psycopg.Connection, slug: str, label: str, definition: Mapping[str, Any]
) -> Cohort:
    """Create the cohort, or return it if it exists with the same definition (the label is updated).

    The names of those who asked to be forgotten are left out of what is stored.

    Raises:
        ConfigurationError: slug or definition are malformed, the slug belongs to another definition
            or to a cohort that has ended, or everybody named asked to be forgotten.
    """
    if not SLUG.fullmatch(slug):
        raise ConfigurationError(
            f"{slug!r} cannot be a cohort's slug: lower-case letters, digits, - and _, at most 63 of them."
        )
    for known in list_cohorts(connection):
        if known.slug == slug:
            require_active(known)
    wanted = validated_definition(definition)
    with connection.transaction():
        hold_off(connection)
        wanted = _without_forgotten(connection, wanted)
        seed = wanted.get("seed") or wanted.get("owner")
        seed_user_id = ensure_users(connection, [seed]).get(seed) if seed else None
        if seed and seed_user_id is None:
            raise ConfigurationError(
                "The member whom this cohort is made from asked to be forgotten. "
                "If they take that back: `almanac member allow NAME`."
            )
        connection.execute(
            """
            insert into raw.cohorts (slug, label, seed_user_id, definition) values (%s, %s, %s, %s)
            on conflict (slug) do nothing
            """,
            [slug, label, seed_user_id, Jsonb(wanted)],
        )
        cohort = get_cohort(connection, slug)
        if _filled(cohort.definition) != wanted:
            raise ConfigurationError(
                f"The cohort {slug} exists with another definition ({cohort.definition}). "
                "Choose another slug."
            )
        connection.execute(
            "update raw.cohorts set label = %s, updated_at = now() where slug = %s and label <> %s",
            [label, slug, label],
        )
    return get_cohort(connection, slug)


def with_root(connection: psycopg.Connection, cohort: Cohort) -> Cohort:
    """The cohort with the user whom it is made from: a row that somebody inserted knows the name only.

    It stays without one if they asked to be forgotten.
    """
    definition = definition_of(cohort)
    name = definition.get("seed") or definition.get("owner")
    if cohort.seed_user_id is not None or not name:
        return cohort
    with connection.transaction():
        hold_off(connection)
        connection.execute(
            "update raw.cohorts set seed_user_id = %s, updated_at = now() where cohort_id = %s",
            [ensure_users(connection, [name]).get(name), cohort.cohort_id],
        )
    return get_cohort(connection, cohort.slug)


def add_named_members(connection: psycopg.Connection, slug: str, usernames: Sequence[str]) -> Cohort:
    """Put more names into a cohort of kind `usernames`; it is created, with its slug as label, if needed.

    They become members with the next sync of members. Repeating it changes nothing. Who asked to be
    forgotten is left out.

    Raises:
        ConfigurationError: a name is malformed, the cohort's members are not found by names, or
            everybody named asked to be forgotten.
    """
    with connection.transaction():
        hold_off(connection)
        # Two who create the cohort have no row to wait for.
        connection.execute("select pg_advisory_xact_lock(%s, hashtext(%s))", [COHORT_LOCK, slug])
        connection.execute("select from raw.cohorts where slug = %s for update", [slug])
        known = next((cohort for cohort in list_cohorts(connection) if cohort.slug == slug), None)
        if known is None:
            return create_cohort(connection, slug, slug, {"kind": "usernames", "usernames": list(usernames)})
        definition = definition_of(known)
        if definition["kind"] != "usernames":
            raise ConfigurationError(
                f"The members of {slug} are not found by names, so no name can be put into it. "
                "Choose another slug, or one of kind usernames."
            )
        names = [*definition["usernames"], *usernames]
        wanted = _without_forgotten(
            connection, validated_definition({"kind": "usernames", "usernames": names})
        )
        connection.execute(
            "update raw.cohorts set definition = %(new)s, updated_at = now()"
            " where slug = %(slug)s and definition <> %(new)s",
            {"new": Jsonb(wanted), "slug": slug},
        )
    return get_cohort(connection, slug)


def get_cohort(connection: psycopg.Connection, slug: str) -> Cohort:
    """The cohort of that slug.

    Raises:
        ConfigurationError: there is none.
    """
    with connection.cursor(row_factory=class_row(Cohort)) as cursor:
        cohort = cursor.execute(f"{_SELECT} where slug = %s", [slug]).fetchone()
    if cohort is None:
        raise ConfigurationError(f"There is no cohort {slug}. Create it first.")
    return cohort


def require_active(cohort: Cohort) -> None:
    """Refuse a cohort that has ended.

    Raises:
        ConfigurationError: it has.
    """
    if cohort.status == "archived":
        raise ConfigurationError(
            f"The cohort {cohort.slug} has ended: who it was made from was forgotten. Choose another slug."
        )


def list_cohorts(connection: psycopg.Connection) -> list[Cohort]:
    """All cohorts, by slug."""
    with connection.cursor(row_factory=class_row(Cohort)) as cursor:
        return cursor.execute(f"{_SELECT} order by slug").fetchall()


_SELECT = "select cohort_id, slug, label, definition, status, seed_user_id from raw.cohorts"


def _without_forgotten(connection: psycopg.Connection, definition: Mapping[str, Any]) -> dict[str, Any]:
    """The definition without the names in its lists whose bearers asked to be forgotten."""
    lists = {key: definition[key] for key in NAME_LISTS if key in definition}
    gone = forgotten(connection, [name for names in lists.values() for name in names])
    kept = {key: [name for name in names if name not in gone] for key, names in lists.items()}
    if kept.get("usernames") == []:
        raise ConfigurationError(
            "Everybody named asked to be forgotten: there is nobody to make a cohort of."
        )
    return {**definition, **kept}


def _filled(definition: Mapping[str, Any]) -> Mapping[str, Any]:
    """A stored definition as it would be stored today; one that is no longer valid as it is."""
    try:
        return validated_definition(definition)
    except ConfigurationError:
        return definition


def _username(key: str, value: object) -> str:
    if not isinstance(value, str) or not USERNAME.fullmatch(value.strip().lower()):
        raise ConfigurationError(f"{key}: {value!r} is not a user name.")
    return value.strip().lower()


def _usernames(key: str, value: object) -> list[str]:
    if not isinstance(value, (list, tuple)) or not value:
        raise ConfigurationError(
            f"A cohort of kind usernames needs a list `{key}` with at least one name, not {value!r}."
        )
    return list(dict.fromkeys(_username(key, name) for name in value))


def _excluded(key: str, value: object) -> list[str]:
    if value is not None and not isinstance(value, (list, tuple)):
        raise ConfigurationError(f"{key} is a list of user names, not {value!r}.")
    return sorted({_username(key, name) for name in value or ()})


def _flag(key: str, value: object) -> bool:
    if not isinstance(value, (bool, type(None))):
        raise ConfigurationError(f"{key} is true or false, not {value!r}.")
    return bool(value)


def _slug(key: str, value: object) -> str:
    if not isinstance(value, str) or not SITE_SLUG.fullmatch(value) or value in (".", ".."):
        raise ConfigurationError(f"{key}: {value!r} is not the last part of an address on the site.")
    return value


Read = Callable[[str, object], Any]


def _number(default: int | None, least: int, most: int) -> Read:
    def read(key: str, value: object) -> int | None:
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise ConfigurationError(f"{key} is a whole number from {least} to {most:,}, not {value!r}.")
        return value

    return read


def _one_of(*choices: str) -> Read:
    def read(key: str, value: object) -> str:
        if value is None:
            return choices[0]
        if value not in choices:
            raise ConfigurationError(f"{key} is one of {', '.join(choices)}, not {value!r}.")
        return str(value)

    return read


def _filters(max_members: int | None) -> dict[str, Read]:
    return {
        "min_films": _number(0, 0, 1_000_000),
        "min_likes": _number(0, 0, 1_000_000),
        "max_members": _number(max_members, 1, 10_000),
        "exclude": _excluded,
    }


_KINDS: dict[str, dict[str, Read]] = {
    "following": {
        "seed": _username,
        "include_self": _flag,
        "depth": _number(1, 1, MAXIMUM_DEPTH),
        **_filters(None),
    },
    "followers": {"seed": _username, "include_self": _flag, **_filters(None)},
    "usernames": {"usernames": _usernames},
    "list": {
        "owner": _username,
        "list": _slug,
        "include_self": _flag,
        "relation": _one_of("owner", "fans", "members"),
        "max_films": _number(LIST_FILMS, 1, 1000),
        **_filters(FILM_PEOPLE),
    },
    "film": {"film": _slug, "relation": _one_of("fans", "members"), **_filters(FILM_PEOPLE)},
}
"""Every kind of cohort, and how each key of its definition is read; None is read as the default."""
