"""Databases of a test's own: SQLite files, and a PostgreSQL that is there for the run."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service.execution.limits import die_with_parent
from tests.conftest import eventually

DEBIAN = Path("/usr/lib/postgresql")  # by version, out of the PATH


@dataclass(frozen=True)
class Database:
    """Where it is, for code without an event loop and for code with one."""

    url: str
    async_url: str

    @property
    def is_sqlite(self) -> bool:
        return self.url.startswith("sqlite")


def sqlite(folder: Path, name: str = "app") -> Database:
    path = folder / f"{name}.sqlite"
    return Database(f"sqlite:///{path}", f"sqlite+aiosqlite:///{path}")


class PostgresServer:
    """PostgreSQL on a Unix socket in a temporary folder."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self._programs, self._folder = programs, folder

    def new_database(self) -> Database:
        name = f"test_{uuid.uuid4().hex}"
        self._run("createdb", "--host", str(self._folder), "--username", "postgres", name)
        url = f"postgresql+psycopg://postgres@/{name}?host={self._folder}"
        return Database(url, url)  # psycopg speaks both ways

    @contextmanager
    def running(self) -> Iterator["PostgresServer"]:
        data = str(self._folder / "data")
        self._run("initdb", "--pgdata", data, "--username", "postgres", "--auth", "trust", "-N")
        parent = os.getpid()
        options = ("listen_addresses=", f"unix_socket_directories={self._folder}", "fsync=off")
        command = [part for option in options for part in ("-c", option)]
        server = subprocess.Popen(
            [self._programs / "postgres", "-D", data, *command],
            cwd=self._folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=lambda: die_with_parent(parent),
            **_as_postgres(),
        )
        try:
            eventually(self._answers)
            yield self
        finally:
            server.send_signal(signal.SIGINT)  # now, whoever is connected
            server.wait()

    def _answers(self) -> bool:
        command = [self._programs / "pg_isready", "--quiet", "--host", self._folder]
        return subprocess.run(command, check=False).returncode == 0

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [self._programs / program, *arguments],
            cwd=self._folder,
            check=True,
            capture_output=True,
            **_as_postgres(),
        )


@contextmanager
def postgres() -> Iterator[PostgresServer | None]:
    """A server for as long as the block lasts; None where none is installed."""
    programs = _programs()
    if programs is None:
        yield None
        return
    # Not pytest's tmp_path: a socket's path has to be short, and root's folders are root's.
    with tempfile.TemporaryDirectory(prefix="paddock-pg-", ignore_cleanup_errors=True) as folder:
        if user := _as_postgres():
            shutil.chown(folder, user["user"], user["group"])
        with PostgresServer(programs, Path(folder)).running() as server:
            yield server


def _programs() -> Path | None:
    if found := shutil.which("postgres"):
        return Path(found).resolve().parent
    newest = sorted(DEBIAN.glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    return newest[-1].parent if newest else None


def _as_postgres() -> dict[str, Any]:
    """Whom to run it as: it refuses to be run by root."""
    if os.getuid() != 0:
        return {}
    user = pwd.getpwnam("postgres")
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
