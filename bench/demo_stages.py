"""Seconds of each stage of the main job: the demo twice, and MovieLens with 100 people.

Each world gets an empty home of its own; stage times come from Dagster's event log there.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import psycopg

ROOT = Path(__file__).resolve().parent.parent
MOVIELENS = ROOT.parent / "shared" / "data" / "ml-latest-small"
ALMANAC = Path(sys.executable).with_name("almanac")

STAGES = """
    select step_key, extract(epoch from max(timestamp) - min(timestamp))::float8
    from dagster.event_logs
    where run_id = (select run_id from dagster.runs order by id desc limit 1)
      and dagster_event_type in ('STEP_START', 'STEP_SUCCESS')
    group by step_key order by min(timestamp)
"""


def run() -> dict[str, Any]:
    """Demo first and second time, and MovieLens if it is there: seconds in all and per stage."""
    results = _measure("demo", [], repeats=2)
    if MOVIELENS.is_dir():
        results |= _measure("movielens_100", ["--movielens", str(MOVIELENS), "--members", "100"], repeats=2)
    return results


def _measure(name: str, arguments: list[str], *, repeats: int) -> dict[str, Any]:
    results = {}
    with tempfile.TemporaryDirectory(prefix="almanac-bench") as folder:
        # Open to the user that the database server runs as when we are root.
        os.chmod(folder, 0o711)
        environment = os.environ | {"ALMANAC_HOME": f"{folder}/home"}
        try:
            for number in range(1, repeats + 1):
                output = subprocess.run(
                    [ALMANAC, "demo", "--exit", *arguments],
                    env=environment, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True,
                ).stdout  # fmt: skip
                line = re.search(r"^published .* seconds=([\d.]+)$", output, re.MULTILINE)
                if line is None:
                    raise RuntimeError(f"the demo published nothing:\n{output}")
                url = subprocess.run(
                    [ALMANAC, "db", "url"],
                    env=environment,
                    cwd=ROOT,
                    check=True,
                    stdout=subprocess.PIPE,
                    text=True,
                ).stdout.strip()
                with psycopg.connect(url) as connection:
                    stages = {step: round(seconds, 2) for step, seconds in connection.execute(STAGES)}
                results[f"{name}_run_{number}"] = {
                    "line": line.group(0), "seconds": float(line.group(1)), "stages_seconds": stages
                }  # fmt: skip
        finally:
            subprocess.run(
                [ALMANAC, "down"], env=environment, cwd=ROOT, check=False, stdout=subprocess.DEVNULL
            )
    return results


if __name__ == "__main__":
    import json

    print(json.dumps(run(), indent=2))
