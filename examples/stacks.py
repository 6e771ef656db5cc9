"""The processes that an example needs, before and after: started, killed, started again."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx
from redis.exceptions import RedisError

from service.broker.connection import connect
from service.broker.embedded import server_command, socket_url

PATIENCE = 60.0  # seconds for something to come about
BIN = Path(sys.executable).parent
ROOT = Path(__file__).parents[1]


class Stack:
    """An example's application, and all that it stands on, in a folder of its own."""

    def __init__(self, example: str, side: str, folder: Path) -> None:
        self.example, self.side, self.folder = example, side, folder
        self.journal = folder / "journal.txt"
        self.url = ""
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Return once the application answers."""
        commands = self._commands()
        for command in commands:
            self._start(command)
        if commands:
            eventually(self._redis_answers)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = str(listener.getsockname()[1])
        app = f"examples.{self.example}.{self.side}:app"
        self._start([str(BIN / "uvicorn"), app, "--port", port, "--log-level", "warning"])
        self.url = f"http://127.0.0.1:{port}"
        eventually(self._answers)

    def kill(self) -> None:
        """SIGKILL to every process of it, until none is left."""
        eventually(lambda: not self._kill_some())
        for process in self._processes:
            process.wait()
        self._processes.clear()

    def lines(self) -> list[str]:
        """The journal so far."""
        return self.journal.read_text().splitlines() if self.journal.exists() else []

    def _commands(self) -> list[list[str]]:
        """What runs beside the application."""
        if self.side == "after":
            return [[str(BIN / "paddock"), "up", "--port", "0", "--workers", "2"]]
        if self.example == "celery":
            worker = ["-A", "examples.celery.before:celery", "worker", "--concurrency", "2"]
            return [server_command(self.folder, None), [str(BIN / "celery"), *worker]]
        return []

    def _start(self, command: list[str]) -> None:
        url = socket_url(self.folder)
        environment = {
            "EXAMPLES_JOURNAL": str(self.journal),
            "PADDOCK_DATA_DIR": str(self.folder),
            "PADDOCK_TASKS": f"examples.{self.example}.after",
            "CELERY_BROKER_URL": url.replace("unix://", "redis+socket://"),
            "CELERY_RESULT_BACKEND": url.replace("unix://", "redis+socket://"),
        }
        with (self.folder / "output.txt").open("ab") as output:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=os.environ | environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._processes.append(process)

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/ping", timeout=PATIENCE).is_success
        except httpx.TransportError:
            return False

    def _redis_answers(self) -> bool:
        client = connect(socket_url(self.folder))
        try:
            return bool(client.ping())
        except RedisError:
            return False
        finally:
            client.close()

    def _kill_some(self) -> bool:
        mark = f"EXAMPLES_JOURNAL={self.journal}".encode()
        found = [pid for pid in map(_number, Path("/proc").iterdir()) if self._is_ours(pid, mark)]
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return bool(found)

    def _is_ours(self, pid: int, mark: bytes) -> bool:
        process = Path("/proc", str(pid))
        try:
            # Redis writes its title over its environment; it works in the folder.
            inside = (process / "cwd").readlink().is_relative_to(self.folder)
            return inside or mark in (process / "environ").read_bytes().split(b"\0")
        except OSError:  # gone, no process, or somebody else's
            return False


def eventually(holds: Callable[[], object], seconds: float = PATIENCE) -> None:
    """Return once it is true; raises `TimeoutError` where it never is."""
    until = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > until:
            raise TimeoutError(f"not true after {seconds} s: {holds}")
        time.sleep(0.05)


def _number(process: Path) -> int:
    return int(process.name) if process.name.isdigit() else 0
