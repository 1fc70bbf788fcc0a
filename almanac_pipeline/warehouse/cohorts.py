"""Cohorts: what they are called and how their members are found. Membership itself is in `members`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from almanac_pipeline.errors import ConfigurationError
from almanac_pipeline.warehouse.members import ensure_users

SLUG = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
USERNAME = re.compile(r"[a-z0-9_-]{1,64}")
_KEYS = {"following": {"kind", "seed", "include_self"}, "usernames": {"kind", "usernames"}}


@dataclass(frozen=True, slots=True)
class Cohort:
    """A circle of members, found by its definition."""

    cohort_id: int
    slug: str
    label: str
    definition: dict[str, Any]
    status: str
    seed_user_id: int | None


def validated_definition(definition: Mapping[str, Any]) -> dict[str, Any]:
    """The definition with user names in lower case and every key present.

    Two kinds: `{"kind": "following", "seed": "name", "include_self": false}` and
    `{"kind": "usernames", "usernames": ["name", …]}`.

    Raises:
        ConfigurationError: something is missing, unknown or malformed; the message names it.
    """
    kind = definition.get("kind")
    if kind not in _KEYS:
        raise ConfigurationError(f"A cohort's kind is one of {', '.join(_KEYS)}, not {kind!r}.")
    if unknown := set(definition) - _KEYS[kind]:
        known = ", ".join(sorted(_KEYS[kind]))
        raise ConfigurationError(f"A cohort of kind {kind} knows {known}, not {', '.join(sorted(unknown))}.")
    if kind == "following":
        include_self = definition.get("include_self", False)
        if not isinstance(include_self, bool):
            raise ConfigurationError(f"include_self is true or false, not {include_self!r}.")
        return {"kind": kind, "seed": _username(definition.get("seed")), "include_self": include_self}
    usernames = definition.get("usernames")
    if not isinstance(usernames, (list, tuple)) or not usernames:
        raise ConfigurationError(
            "A cohort of kind usernames needs a list `usernames` with at least one name."
        )
    return {"kind": kind, "usernames": list(dict.fromkeys(_username(name) for name in usernames))}


def create_cohort(
    connection: psycopg.Connection, slug: str, label: str, definition: Mapping[str, Any]
) -> Cohort:
    """Create the cohort, or return it if it exists with the same definition (the label is updated).

    Raises:
        ConfigurationError: slug or definition are malformed, or the slug belongs to another definition.
    """
    if not SLUG.fullmatch(slug):
        raise ConfigurationError(
            f"{slug!r} cannot be a cohort's slug: lower-case letters, digits, - and _, at most 63 of them."
        )
    wanted = validated_definition(definition)
    with connection.transaction():
        seed = wanted.get("seed")
        seed_user_id = ensure_users(connection, [seed])[seed] if seed else None
        connection.execute(
            """
            insert into raw.cohorts (slug, label, seed_user_id, definition) values (%s, %s, %s, %s)
            on conflict (slug) do update set label = excluded.label, updated_at = now()
            where cohorts.label <> excluded.label and cohorts.definition = excluded.definition
            """,
            [slug, label, seed_user_id, Jsonb(wanted)],
        )
    cohort = get_cohort(connection, slug)
    if cohort.definition != wanted:
        raise ConfigurationError(
            f"The cohort {slug} exists with another definition ({cohort.definition}). Choose another slug."
        )
    return cohort


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


def list_cohorts(connection: psycopg.Connection) -> list[Cohort]:
    """All cohorts, by slug."""
    with connection.cursor(row_factory=class_row(Cohort)) as cursor:
        return cursor.execute(f"{_SELECT} order by slug").fetchall()


_SELECT = "select cohort_id, slug, label, definition, status, seed_user_id from raw.cohorts"


def _username(name: object) -> str:
    if not isinstance(name, str) or not USERNAME.fullmatch(name.strip().lower()):
        raise ConfigurationError(f"{name!r} is not a user name.")
    return name.strip().lower()
