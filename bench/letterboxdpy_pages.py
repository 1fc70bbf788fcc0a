"""Times letterboxdpy on saved pages. Run by `bench.parse_pages` under an interpreter that has it.

Reads paths of pages from the command line and prints one JSON list: per page what was extracted, and
the seconds of each round. Only the package's parsing functions are called; nothing is fetched. It must
not import anything of this project, which is not installed there.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from bs4 import BeautifulSoup
from letterboxdpy.pages.user_films import extract_movies_from_user_watched

ROUNDS = 5


def extract(body: bytes) -> dict[str, dict[str, Any]]:
    """As its scraper does with the text of a response: a soup by lxml, then the films of the grid."""
    films: dict[str, dict[str, Any]] = extract_movies_from_user_watched(
        BeautifulSoup(body.decode(), "lxml"), max=10_000
    )
    return films


def main() -> None:
    pages = [Path(name).read_bytes() for name in sys.argv[1:]]
    answers: list[dict[str, Any]] = []
    for body in pages:
        rows = [
            [film["slug"], film["name"], film["year"], film["id"], film["rating"], film["liked"]]
            for film in extract(body).values()
        ]
        answers.append({"rows": rows, "seconds": []})
    for _ in range(ROUNDS):
        for body, answer in zip(pages, answers, strict=True):
            started = time.process_time()
            extract(body)
            answer["seconds"].append(time.process_time() - started)
    json.dump(answers, sys.stdout)


if __name__ == "__main__":
    main()
