"""The API as a process of its own."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx2 as httpx

from service.execution.limits import die_with_parent
from service.settings import Settings
from tests.conftest import ROOT, Start, a_redis, eventually

TIMEOUT = 60.0  # seconds that a client waits


@contextlib.contextmanager
def a_service(tasks: Sequence[str]) -> Iterator[str]:
    """The URL of an API with a Redis and a worker of its own, for as long as the block lasts."""
    with a_redis() as redis, tempfile.TemporaryDirectory() as data, contextlib.ExitStack() as stack:
        settings = Settings(redis_url=redis.url, data_dir=Path(data), tasks=tuple(tasks))
        parent = os.getpid()

        def start(*command: str, **environment: str) -> "subprocess.Popen[str]":
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=os.environ | settings.environment() | environment,
                text=True,
                start_new_session=True,
                preexec_fn=lambda: die_with_parent(parent),
            )
            stack.callback(process.wait)
            stack.callback(os.killpg, process.pid, signal.SIGKILL)
            return process

        start(sys.executable, "worker.py")
        eventually(lambda: redis.client.scard("rq:workers"))
        yield serve(start)


def serve(start: Start, *, module: str = "service.cli", **environment: str) -> str:
    """Start `paddock serve`; return its URL once it answers."""
    port = free_port()
    start(sys.executable, "-m", module, "serve", "--port", str(port), **environment)
    url = f"http://127.0.0.1:{port}"
    eventually(lambda: is_live(url))
    return url


def free_port() -> int:
    """One that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def is_live(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health/live", timeout=TIMEOUT).is_success
    except httpx.TransportError:
        return False
