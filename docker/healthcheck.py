"""Whether the container's one process does its work; exit code 1 and one line if not. For HEALTHCHECK.

Dagster's own checks import all of Dagster, which is seconds of CPU every half minute.
"""

from __future__ import annotations

import os
import sys
import urllib.request

# The daemon beats every 30 s; a long sensor tick may hold its beat up for a minute or two.
OLDEST_BEAT_SECONDS = 300
DAEMONS = ("SCHEDULER", "SENSOR", "QUEUED_RUN_COORDINATOR")


def code() -> str | None:
    """The gRPC server accepts calls."""
    import grpc

    with grpc.insecure_channel("127.0.0.1:4000") as channel:
        grpc.channel_ready_future(channel).result(timeout=5)
    return None


def webserver() -> str | None:
    """The UI answers."""
    with urllib.request.urlopen("http://127.0.0.1:3000/server_info", timeout=5):
        return None


def metrics() -> str | None:
    """The numbers are answered."""
    with urllib.request.urlopen("http://127.0.0.1:9464/metrics", timeout=10):
        return None


def daemon() -> str | None:
    """Scheduler, sensors and run queue have all given a sign of life."""
    import psycopg

    with psycopg.connect(os.environ["ALMANAC_DATABASE_URL"], connect_timeout=5) as connection:
        beats = dict(
            connection.execute(
                "select daemon_type, extract(epoch from now() at time zone 'UTC' - max(timestamp))"
                " from dagster.daemon_heartbeats group by daemon_type"
            ).fetchall()
        )
    silent = [name for name in DAEMONS if beats.get(name, OLDEST_BEAT_SECONDS + 1) > OLDEST_BEAT_SECONDS]
    return f"no sign of life from {', '.join(silent)}" if silent else None


if __name__ == "__main__":
    check = {"code": code, "webserver": webserver, "daemon": daemon, "metrics": metrics}[sys.argv[1]]
    try:
        problem = check()
    except Exception as error:
        problem = f"{type(error).__name__}: {error}"
    if problem:
        sys.exit(problem)
