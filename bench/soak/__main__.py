"""Three weeks of twenty cohorts, and the account of them: `python -m bench.soak`."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from random import Random
from typing import Any

import psycopg

from almanac_pipeline.sandbox.client import spawn_sandbox
from almanac_pipeline.sandbox.options import SandboxConfig
from almanac_pipeline.settings import get_settings
from bench.soak import audits
from bench.soak.life import DayLine, Life, totals
from bench.soak.site import KINDS, WORLD, Outside, plan

WANTED_SHARE = 0.98
# Dagster's events and the log of requests are kept for a week, so that three show what retention does.
KEEP_DAYS = 7


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__)
    parser.add_argument("--days", type=int, default=21)
    parser.add_argument("--cohorts", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1, help="of the news and the faults")
    parser.add_argument("--json", action="store_true", help="the whole account on standard output")
    parser.add_argument("--keep", action="store_true", help="leave the home folder behind")
    given = parser.parse_args()
    account = soak(given.days, given.cohorts, given.seed, keep=given.keep)
    if given.json:
        print(json.dumps(account, indent=2))
    else:
        print_account(account)
    sys.exit(0 if account["passed"] else 1)


def soak(days: int, cohorts: int, seed: int, *, keep: bool = False) -> dict[str, Any]:
    """Live through the days; returns the account of them, with `passed` and what speaks against it."""
    random, began = Random(seed), time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="almanac-soak."))
    folder.chmod(0o711)  # open to the user that the database runs as when we are root
    with spawn_sandbox(SandboxConfig(WORLD)) as site:
        for name in [name for name in os.environ if name.startswith("ALMANAC_") or name == "DAGSTER_HOME"]:
            del os.environ[name]
        settings = {
            "HOME": folder,
            "LETTERBOXD_URL": site.url,
            "TMDB_URL": site.tmdb_url,
            "TMDB_TOKEN": "sandbox",
            # As with the real site: whoever is in several circles is read once.
            "FRESH_MINUTES": 10,
            "EVENT_LOG_KEEP_DAYS": KEEP_DAYS,
            "REQUEST_LOG_KEEP_DAYS": KEEP_DAYS,
        }
        os.environ |= {f"ALMANAC_{name}": str(value) for name, value in settings.items()}
        get_settings.cache_clear()
        outside = Outside(site, random)
        outside.found_circles(cohorts)
        life = Life(folder, outside, random)
        try:
            life.create()
            for number, faults in enumerate(plan(days, random)):
                line = life.live(number, faults)
                print(_words(line), file=sys.stderr, flush=True)
            account = _account(life, began)
        finally:
            life.end()
            if not keep:
                shutil.rmtree(folder, ignore_errors=True)
                shutil.rmtree(life.server_root, ignore_errors=True)
    return account | {"days": days, "cohorts": cohorts, "seed": seed}


def _account(life: Life, began: float) -> dict[str, Any]:
    last = life.last_look()
    with psycopg.connect(life.url()) as connection:
        duplicates, left_overs = audits.duplicates(connection), audits.left_overs(connection)
        alerts, raised = audits.open_alerts(connection), audits.raised_alerts(connection)
    sums, report = totals(life.days), life.outside.site.report()
    share = (sums["right"] + sums["excused"]) / sums["cohort_days"]
    missed = sorted(set(KINDS) & {f for day in life.days for f in day.faults} - sums["struck"].keys())
    against = {
        "too few cohort-days succeeded": share < WANTED_SHARE,
        "rows were lost or invented": last.lost + last.invented > 0,
        "cohorts do not show the truth in the end": bool(last.wrong),
        "marts are not what the rows give": bool(last.unlike_raw),
        "there are duplicates": any(duplicates.values()),
        "something was left over": bool(left_overs),
        "alerts are open": bool(alerts),
    }
    return {
        "passed": not any(against.values()),
        "against": [words for words, holds in against.items() if holds],
        "success_share": round(share, 4),
        "success_share_without_excuse": round(sums["right"] / sums["cohort_days"], 4),
        **sums,
        "faults_that_did_not_strike": missed,
        "lost": last.lost,
        "invented": last.invented,
        "wrong_in_the_end": dict(last.wrong),
        "unlike_raw_in_the_end": sorted(last.unlike_raw),
        "duplicates": duplicates,
        "left_overs": left_overs,
        "open_alerts": alerts,
        "raised_alerts": raised,
        "age_hours": {slug: round(hours, 2) for slug, hours in last.age_hours.items()},
        "requests": report["requests"],
        "statuses": report["by_status"],
        "seconds": round(time.monotonic() - began),
        "by_day": [asdict(day) for day in life.days],
    }


def _words(day: DayLine) -> str:
    """A day on one line."""
    faults = ", ".join(f"{name} {day.struck.get(name, 0)}" for name in day.faults) or "calm"
    wrong = "".join(f"; {slug} {why}" for slug, why in list(day.wrong.items())[:3])
    cohorts = f"{day.right} right, {day.excused} excused, {len(day.wrong)} wrong{wrong}"
    return (
        f"day {day.day:2}: {faults}: {cohorts}; "
        f"{day.runs} runs, {day.failed_runs} failed, {day.resumed_runs} resumed, {day.dead_runs} dead; "
        f"{day.requests} requests, {day.seconds} s, {day.peak_megabytes} MB, "
        f"database {day.database_megabytes} MB" + "".join(f"\n    {error}" for error in day.errors[:5])
    )


def print_account(account: dict[str, Any]) -> None:
    """The account without its days, a number or a list a line."""
    for name, value in account.items():
        if name != "by_day":
            print(f"{name:32} {value if not isinstance(value, dict) else json.dumps(value)}")


if __name__ == "__main__":
    main()
