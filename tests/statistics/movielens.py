"""Reads MovieLens and the golden rankings in place, for the tests that compare with them."""

from __future__ import annotations

import csv
import json
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple


class Opinion(NamedTuple):
    user: int
    movie: int
    stars: float
    timestamp: int


@lru_cache(maxsize=1)
def opinions(shared: Path) -> tuple[Opinion, ...]:
    with (shared / "data/ml-latest-small/ratings.csv").open(newline="") as file:
        return tuple(
            Opinion(int(row["userId"]), int(row["movieId"]), float(row["rating"]), int(row["timestamp"]))
            for row in csv.DictReader(file)
        )


@lru_cache(maxsize=1)
def titles(shared: Path) -> dict[int, str]:
    with (shared / "data/ml-latest-small/movies.csv").open(newline="", encoding="utf-8") as file:
        return {int(row["movieId"]): row["title"] for row in csv.DictReader(file)}


@lru_cache(maxsize=1)
def golden_rankings(shared: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((shared / "data/golden/rankings.json").read_text())
    return loaded
