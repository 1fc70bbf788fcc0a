"""The days of a home: what the clock brings, what goes wrong, and what an operator does about it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from random import Random
from typing import Any

import psycopg

from almanac_pipeline.flows.alerts import look
from almanac_pipeline.schedules import INCREMENTAL, SCHEDULES, next_time
from almanac_pipeline.settings import get_settings
from almanac_pipeline.warehouse.cohorts import create_cohort
from almanac_pipeline.warehouse.embedded import EmbeddedServer
from bench.soak import audits
from bench.soak.clock import pass_time
from bench.soak.daemon import Day, serve
from bench.soak.site import ALL_DAY, HOME_FAULTS, SITE_FAULTS, Outside

# A Monday, so that three weeks hold three of them, and the first and second of a month.
FIRST_DAY = date(2026, 6, 22)
DAY_SECONDS = 86_400.0
START_SECONDS = 120.0
# A day takes half a minute, the first ten times as long on a busy machine; what takes longer than this hangs.
PATIENCE_SECONDS = 1_800.0
# When something happens to the home, as shares of the time that the day before took.
MOMENT = (0.02, 0.7)
# What an operator may see and do again on one day.
MOST_LOOKS = 4
ALMANAC = Path(sys.executable).with_name("almanac")
# Over when an operator says so, see their pages in docs/runbook.
TOLD_OVER = ("layout", "suspicious", "volume", "unusual_numbers")


@dataclass
class DayLine:
    """A day in numbers."""

    day: int
    faults: list[str]
    struck: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    runs: int = 0
    failed_runs: int = 0
    resumed_runs: int = 0
    dead_runs: int = 0
    looks: int = 0
    """How often the operator looked again because something was wrong."""
    news: int = 0
    right: int = 0
    excused: int = 0
    """Cohorts that show the day before, unharmed, because the site could not be read all day."""
    wrong: dict[str, str] = field(default_factory=dict)
    oldest_hours: float = 0.0
    peak_megabytes: float | None = None
    database_megabytes: float = 0.0
    dagster_megabytes: float = 0.0
    backup_megabytes: float = 0.0
    requests: int = 0
    errors: list[str] = field(default_factory=list)


class Daemon:
    """The process of the daemon: started, asked for a day's work, killed."""

    def __init__(self, log_file: Path) -> None:
        self._log_file = log_file
        self._process: BaseProcess | None = None
        self._pipe: Connection | None = None
        self.peak_bytes: int | None = None
        """The most memory that it held since `forget_peak`, over all its lives."""

    def begin(self, day: Day) -> None:
        """Start the process if there is none, and give it the day."""
        if self._process is None or not self._process.is_alive():
            context = multiprocessing.get_context("spawn")
            self._pipe, theirs = context.Pipe()
            self._process = context.Process(target=serve, args=(theirs, str(self._log_file)), daemon=False)
            self._process.start()
            theirs.close()
            if self._answer(START_SECONDS) != "ready":
                raise RuntimeError(f"the daemon did not start; its last words are in {self._log_file}")
        assert self._pipe is not None
        self._pipe.send(day)

    def report(self, seconds: float) -> dict[str, Any] | None:
        """What it did, if it is done within that time; None if it is at work still, or has died."""
        told: dict[str, Any] | None = self._answer(seconds)
        return told

    def is_alive(self) -> bool:
        return self._process is not None and self._process.is_alive()

    def kill(self) -> None:
        """End it as `kill -9` does."""
        if self._process is not None:
            self.note_peak()
            self._process.kill()
            self._process.join()
            self._process = None

    def note_peak(self) -> None:
        """Take note of the most memory it held, where the system says so."""
        try:
            status = Path(f"/proc/{self._process.pid if self._process else 0}/status").read_text()
        except OSError:
            return
        peak = int(status.partition("VmHWM:")[2].split()[0]) * 1024
        self.peak_bytes = max(self.peak_bytes or 0, peak)

    def forget_peak(self) -> None:
        """Begin a new count of the most memory."""
        self.peak_bytes = None
        if self.is_alive() and self._process is not None:
            try:
                Path(f"/proc/{self._process.pid}/clear_refs").write_text("5")
            except OSError:
                return

    def _answer(self, seconds: float) -> Any:
        assert self._pipe is not None
        try:
            return self._pipe.recv() if self._pipe.poll(seconds) else None
        except (EOFError, ConnectionResetError):
            return None


class Life:
    """A home, the sandbox outside of it, and the operator."""

    def __init__(self, home: Path, outside: Outside, random: Random) -> None:
        self.home = home
        self.outside = outside
        self._random = random
        self._server = EmbeddedServer(home)
        self._daemon = Daemon(home / "soak.log")
        self._usual_seconds = 20.0
        self._began: float | None = None
        self._circles: dict[str, frozenset[str]] = {}
        self._unread_circles: frozenset[str] = frozenset()
        """Cohorts that lacked members or had others in the evening."""
        self.days: list[DayLine] = []

    def create(self) -> None:
        """Create the cohorts as rows: the rest happens by itself."""
        self._almanac("db", "prepare")
        self._almanac("db", "migrate")
        with psycopg.connect(self.url()) as connection:
            for circle in self.outside.circles:
                create_cohort(connection, circle.slug, circle.slug, circle.definition)

    def url(self) -> str:
        """The address of the home's database."""
        return self._server.start().url

    @property
    def server_root(self) -> Path:
        """Where the database keeps its files, which may be outside of the home."""
        return self._server.root

    def last_look(self) -> audits.Evening:
        """What is true in the end, with the daemon gone: what it held is given back."""
        self._daemon.kill()
        members = sorted({name for circle in self._circles.values() for name in circle})
        look(self.url(), get_settings())
        time.sleep(1.0)
        with psycopg.connect(self.url()) as connection:
            self._resolve(audits.open_alerts(connection))
            return audits.evening(connection, self.outside.truth(members), self._circles, ())

    def live(self, number: int, faults: tuple[str, ...]) -> DayLine:
        """One day from its beginning to the audit in the evening."""
        site, line = self.outside.site, DayLine(number, list(faults))
        self._pass_a_day()
        line.news = self.outside.make_news() if number else 0
        today, newcomers = ticks(number), self._look_at_circles(number)
        before = site.report()
        is_closed = ALL_DAY in faults
        for fault in faults:
            if fault not in HOME_FAULTS:
                self.outside.order(fault)
        self._daemon.forget_peak()
        began = time.monotonic()
        self._work(line, Day(number, today), [f for f in faults if f in HOME_FAULTS])
        self._usual_seconds = time.monotonic() - began
        self._operate(line, Day(number, (), resumes=True), is_closed=is_closed)
        site.clear_faults()
        line.seconds = round(time.monotonic() - began, 1)
        after = site.report()
        line.struck |= strikes(before, after)
        line.requests = after["requests"] - before["requests"]
        self._judge(line, newcomers, is_closed=is_closed)
        self.days.append(line)
        return line

    def end(self) -> None:
        """Stop everything that runs here."""
        self._daemon.kill()
        self._server.stop()

    # -- the clock --------------------------------------------------------------------------

    def _pass_a_day(self) -> None:
        """A day lies between two beginnings, of which the day before has taken a little already."""
        now = time.monotonic()
        if self._began is not None:
            pass_time(self.url(), DAY_SECONDS - (now - self._began))
        self._began = now

    def _look_at_circles(self, number: int) -> frozenset[str]:
        """Who is to be in the cohorts tonight: read at their creation, then weekly. Returns who is new.

        What could not be read is read the next day, as it is then.
        """
        before = frozenset().union(*self._circles.values())
        is_monday = (FIRST_DAY + timedelta(days=number)).weekday() == 0
        for circle in self.outside.circles:
            if number == 0 or is_monday or circle.slug in self._unread_circles:
                self._circles[circle.slug] = self.outside.members_of(circle)
        if number == 0:
            return frozenset()
        return frozenset().union(*self._circles.values()) - before

    # -- what goes wrong --------------------------------------------------------------------

    def _work(self, line: DayLine, day: Day, faults: list[str]) -> None:
        """Have the daemon do the day's work, and meanwhile happen to the home what is to happen."""
        self._daemon.begin(day)
        for fault in faults:
            told = self._daemon.report(self._random.uniform(*MOMENT) * self._usual_seconds)
            if told is not None:
                # It was done sooner than usual: then it happens while the sensors look around.
                self._take(line, told)
                self._daemon.begin(Day(day.number, ()))
                time.sleep(self._random.uniform(0.0, 0.5))
            line.struck[fault] = line.struck.get(fault, 0) + 1
            self._strike(fault)
            if not self._daemon.is_alive():
                self._daemon.begin(day)
        told = self._daemon.report(PATIENCE_SECONDS)
        if told is None:
            line.errors.append("the daemon hung" if self._daemon.is_alive() else "the daemon died")
            self._daemon.kill()
            self._daemon.begin(day)
            told = self._daemon.report(PATIENCE_SECONDS)
        if told is not None:
            self._take(line, told)
        self._daemon.note_peak()

    def _take(self, line: DayLine, told: dict[str, Any]) -> None:
        line.runs += told["runs"]
        line.failed_runs += told["failed"]
        line.resumed_runs += told["resumed"]
        line.dead_runs += told["closed"]
        line.errors += told["errors"]

    def _strike(self, fault: str) -> None:
        if fault == "kill":
            self._daemon.kill()
        elif fault == "database_restart":
            self._server.stop()
            self._server.start()
        else:
            os.kill(int((self._server.data / "postmaster.pid").read_text().split()[0]), signal.SIGKILL)
            time.sleep(self._random.uniform(0.0, 1.0))
            self._server.start()

    # -- the operator -----------------------------------------------------------------------

    def _operate(self, line: DayLine, day: Day, *, is_closed: bool) -> None:
        """Look at the alerts as often as there is something to do, do what the runbook says, and go on.

        Where another layout closes the site the operator waits for the next day, as its page says.
        """
        if is_closed:
            return
        for _ in range(MOST_LOOKS):
            with psycopg.connect(self.url()) as connection:
                alerts = audits.open_alerts(connection)
                unread = [slug for slug, _, failures in connection.execute(audits.FRESHNESS) if failures]
            blocked = any(alert["kind"] == "blocked" for alert in alerts)
            for alert in alerts:
                if alert["kind"] == "blocked":
                    self._almanac("unblock", alert["subject"])
            self._resolve(alerts)
            if not blocked and not unread:
                return
            line.looks += 1
            if unread and not blocked:
                for slug in unread:
                    self._almanac("scrape", "--cohort", slug, may_fail=True)
                    # Which looks anew who is in the circle, too.
                    self._circles[slug] = self.outside.members_of(self.outside.circle(slug))
            self._daemon.begin(day)
            told = self._daemon.report(PATIENCE_SECONDS)
            if told is not None:
                self._take(line, told)

    def _resolve(self, alerts: list[dict[str, Any]]) -> None:
        for alert in alerts:
            if alert["kind"] in TOLD_OVER:
                self._almanac("alerts", "resolve", str(alert["alert_id"]))

    def _almanac(self, *arguments: str, may_fail: bool = False) -> None:
        done = subprocess.run([ALMANAC, *arguments], capture_output=True, text=True, timeout=PATIENCE_SECONDS)
        if done.returncode and not may_fail:
            raise RuntimeError(f"almanac {' '.join(arguments)}: {done.stdout}{done.stderr}")

    # -- the evening ------------------------------------------------------------------------

    def _judge(self, line: DayLine, newcomers: frozenset[str], *, is_closed: bool) -> None:
        members = sorted({name for circle in self._circles.values() for name in circle})
        truth = self.outside.truth(members)
        with psycopg.connect(self.url()) as connection:
            found = audits.evening(connection, truth, self._circles, newcomers)
            sizes = audits.megabytes(connection)
        self._unread_circles = frozenset(s for s, why in found.wrong.items() if why == audits.OTHER_MEMBERS)
        for slug in self._circles:
            if slug not in found.wrong:
                line.right += 1
            elif is_closed and slug not in found.unlike_raw and "refused" not in found.wrong[slug]:
                line.excused += 1
            else:
                line.wrong[slug] = found.wrong[slug]
        line.oldest_hours = round(max(found.age_hours.values()), 2)
        line.peak_megabytes = round(self._daemon.peak_bytes / 1e6, 1) if self._daemon.peak_bytes else None
        line.database_megabytes, line.dagster_megabytes = sizes["database"], sizes["dagster"]
        backups = sorted((self.home / "backups").glob("*"), key=lambda file: file.stat().st_mtime)
        line.backup_megabytes = round(backups[-1].stat().st_size / 1e6, 2) if backups else 0.0


def ticks(number: int) -> tuple[tuple[str, datetime], ...]:
    """The schedules of a simulated day with their times; the hourly one once, at night. Pure."""
    midnight = datetime.combine(FIRST_DAY + timedelta(days=number), datetime.min.time(), UTC)
    times = [
        (schedule.name, midnight.replace(hour=2, minute=17))
        if schedule is INCREMENTAL
        else (schedule.name, next_time(schedule.cron, midnight - timedelta(seconds=1)))
        for schedule in SCHEDULES
    ]
    due = [(name, at) for name, at in times if at - midnight < timedelta(days=1)]
    return tuple(sorted(due, key=lambda tick: tick[1]))


def strikes(before: dict[str, Any], after: dict[str, Any]) -> dict[str, int]:
    """How often each fault of the site struck between two of its reports, where it did at all. Pure."""
    counts = {}
    for name, details in SITE_FAULTS.items():
        if details["fault"] == "status":
            counted, key = "by_status", str(details["status"])
        else:
            counted, key = "faults", details["fault"]
        counts[name] = after[counted].get(key, 0) - before[counted].get(key, 0)
    return {name: count for name, count in counts.items() if count}


def totals(days: list[DayLine]) -> dict[str, Any]:
    """The sums over the days that a reader asks for first."""
    cohort_days = sum(day.right + day.excused + len(day.wrong) for day in days)
    struck: Counter[str] = Counter()
    for day in days:
        struck.update(day.struck)
    return {
        "cohort_days": cohort_days,
        "right": sum(day.right for day in days),
        "excused": sum(day.excused for day in days),
        "wrong": sum(len(day.wrong) for day in days),
        "struck": dict(sorted(struck.items())),
        "runs": sum(day.runs for day in days),
        "failed_runs": sum(day.failed_runs for day in days),
        "resumed_runs": sum(day.resumed_runs for day in days),
        "dead_runs": sum(day.dead_runs for day in days),
    }
