"""Which cohorts a Dagster run is of, as its tags say it; and which cohorts share a run. Starts no Dagster."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

PARTITION_TAG = "dagster/partition"
RANGE_TAGS = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")
COHORTS_TAG = "almanac/cohorts"
"""Run tag: all cohorts of a run that has several which do not stand side by side; its partition is the first.

Dagster's own ranges hold neighbours only, and ten changed cohorts of 2,000 would take ten runs.
"""
# Dagster's index of tags takes 2,704 bytes (a third of a page of PostgreSQL's).
COHORTS_TAG_CHARACTERS = 2_000


def cohorts_of(tags: Mapping[str, str], known: Sequence[str]) -> list[str]:
    """The cohorts of a run by its tags, whoever asked for it; `known` are all partitions, in their order."""
    if several := tags.get(COHORTS_TAG):
        return several.split(",")
    if (one := tags.get(PARTITION_TAG)) is not None:
        return [one]
    start, end = (tags.get(tag) for tag in RANGE_TAGS)
    if start not in known or end not in known:
        return []
    return list(known[known.index(start) : known.index(end) + 1])


def batches(members: Iterable[tuple[str, int]], most_members: int) -> Iterator[list[str]]:
    """Cohorts with their numbers of members, as groups for one run each: neighbours, as many as it holds.

    A run holds about `most_members`, a larger cohort alone, and no more names than its tag takes.
    """
    batch: list[str] = []
    members_count = characters = 0
    for slug, count in members:
        is_full = members_count + count > most_members or characters + len(slug) >= COHORTS_TAG_CHARACTERS
        if batch and is_full:
            yield batch
            batch, members_count, characters = [], 0, 0
        batch.append(slug)
        members_count += count
        characters += len(slug) + 1
    if batch:
        yield batch
