"""Runs every benchmark, or those named, and prints one JSON document on standard output.

python -m bench                     all of them
python -m bench parse_pages         one of them
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import sys
import time

BENCHMARKS = [
    "match_titles",
    "parse_pages",
    "load_rows",
    "import_export",
    "statistics",
    "rank_filters",
    "ranking_quality",
    "marts_beside_duckdb",
    "rebuild_growth",
    "automation_tick",
    "metrics_scrape",
    "beyond_almanac",
    "sync_members",
    "replay",
    "enrich_films",
    "demo_stages",
]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure the hot paths.")
    parser.add_argument(
        "names", nargs="*", choices=[[], *BENCHMARKS], metavar="NAME", help=", ".join(BENCHMARKS)
    )
    names = parser.parse_args().names or BENCHMARKS
    results: dict[str, object] = {
        "measured_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": {
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            "system": platform.system(),
        },
    }
    for name in names:
        started = time.monotonic()
        print(f"{name} …", file=sys.stderr, flush=True)
        results[name] = importlib.import_module(f"bench.{name}").run()
        print(f"{name} took {time.monotonic() - started:.1f} s", file=sys.stderr, flush=True)
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
