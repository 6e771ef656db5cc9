"""Commands as a document shows them, run in a shell, and held against what it says they print."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import eventually, server_folder
from tests.documents import blocks

START_PATIENCE = 60  # seconds


@dataclass(frozen=True)
class Session:
    """A command, and what it prints: … stands for anything but quotes, and ,… for those as well."""

    command: str
    shown: str

    def check(self, printed: str) -> None:
        """Fail where this was not printed."""
        expected = re.escape(self.shown).replace(",…", r",[^\n]*").replace("…", r"[^\"\n]*")
        assert re.fullmatch(expected, printed.strip()), f"$ {self.command}\n{printed}"


def sessions(page: Path) -> list[Session]:
    """Those of the blocks of this page that are of a console."""
    return [
        Session(command, shown.strip())
        for block in blocks("console", pages=[page])
        for command, _, shown in (
            session.partition("\n")
            for session in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]
        )
    ]


class Shell:
    """A folder that has the repository's .venv, and a Paddock up in it when told so."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._up: subprocess.Popen[bytes] | None = None
        self._port = ""
        (folder / ".venv").symlink_to(Path(sys.prefix))

    def run(self, session: Session) -> None:
        """Run it, and hold what it prints against what is shown."""
        if session.command.endswith("paddock up"):
            self._check_lines(session, self.up())
            return
        ran = subprocess.run(
            session.command.replace("localhost:8000", f"localhost:{self._port}"),
            shell=True,
            cwd=self.folder,
            env=_environment(),
            capture_output=True,
            text=True,
            timeout=START_PATIENCE,
            check=False,
        )
        session.check(ran.stdout)

    def up(self) -> str:
        """Start Paddock instead of the one that runs; what it prints until all is up."""
        self.down()
        output = self.folder / "up.log"
        with output.open("wb") as log:
            self._up = subprocess.Popen(
                [self.folder / ".venv/bin/paddock", "up", "--port", "0"],
                cwd=self.folder,
                env=_environment(),
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        eventually(lambda: "\n  tasks " in output.read_text(), START_PATIENCE)
        printed = output.read_text()
        (self._port,) = re.findall(r"^  API .*:(\d+)  ", printed, re.MULTILINE)
        return printed

    def down(self) -> None:
        """Stop it."""
        if self._up is not None:
            self._up.send_signal(signal.SIGTERM)
            self._up.wait(START_PATIENCE)
            self._up = None

    def _check_lines(self, session: Session, printed: str) -> None:
        """Those that are shown are there, at whichever port."""
        here = printed.replace(f":{self._port}", ":8000")
        for line in session.shown.splitlines():
            expected = re.escape(line).replace("…", r"[^\"\n]*")
            assert re.search(f"^{expected}$", here, re.MULTILINE), f"{line}\n{printed}"


@contextmanager
def a_shell() -> Iterator[Shell]:
    """One in a new folder, with nothing up yet."""
    with server_folder() as folder:
        shell = Shell(Path(folder))
        try:
            yield shell
        finally:
            shell.down()


def _environment() -> dict[str, str]:
    """Without the settings of whoever runs the tests; but the suite is run with each server."""
    kept = ("PADDOCK_REDIS_SERVER",)
    return {
        name: value
        for name, value in os.environ.items()
        if name in kept or not name.startswith("PADDOCK_")
    }
