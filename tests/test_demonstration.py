"""The demo's worlds: told apart, never mixed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from almanac_pipeline.demonstration import World, claim_world
from almanac_pipeline.errors import ConfigurationError

WORLD = World(movielens=None, members=25, member_ids=None, films=600, seed=7)


def test_the_same_world_may_be_shown_again(tmp_path: Path) -> None:
    claim_world(tmp_path, "here:1/almanac", WORLD)
    before = (tmp_path / "demo-worlds.json").read_text()
    claim_world(tmp_path, "here:1/almanac", WORLD)
    assert (tmp_path / "demo-worlds.json").read_text() == before


@pytest.mark.parametrize("change", [{"seed": 8}, {"members": 8}, {"films": 100}])
def test_another_world_in_the_same_database_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    claim_world(tmp_path, "here:1/almanac", WORLD)
    with pytest.raises(ConfigurationError, match=r"another world .*ALMANAC_HOME="):
        claim_world(tmp_path, "here:1/almanac", replace(WORLD, **change))
    claim_world(tmp_path, "elsewhere:1/almanac", replace(WORLD, **change))


def test_another_choice_of_people_is_the_same_movielens_world(tmp_path: Path) -> None:
    folder = tmp_path / "ml"
    folder.mkdir()
    for name in ("ratings.csv", "movies.csv"):
        (folder / name).write_text("userId,movieId\n")
    world = replace(WORLD, movielens=folder)
    claim_world(tmp_path, "here:1/almanac", world)
    claim_world(tmp_path, "here:1/almanac", replace(world, member_ids="3,17"))
    (folder / "ratings.csv").write_text("userId,movieId\n1,1\n")
    with pytest.raises(ConfigurationError, match="another world"):
        claim_world(tmp_path, "here:1/almanac", world)
