"""The Redis that all contenders share, as durable as Paddock runs it; and their processes."""

import contextlib
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import redis

from service.broker.connection import connect
from service.broker.embedded import server_command, socket_url

FAREWELL = 20  # seconds until a process that was told to stop is killed


@contextlib.contextmanager
def redis_server() -> Iterator[tuple[str, "redis.Redis"]]:
    """Its URL and a client, for as long as the block lasts."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        server = subprocess.Popen(server_command(Path(folder), None))
        client = connect(socket_url(Path(folder)))
        try:
            while not _answers(client):
                time.sleep(0.02)
            yield socket_url(Path(folder)), client
        finally:
            server.kill()
            server.wait()


def _answers(client: "redis.Redis") -> bool:
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False


@contextlib.contextmanager
def processes(count: int, command: list[str], environment: dict[str, str]) -> Iterator[list[int]]:
    """So many processes of this command; their pids."""
    running = [
        subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        for _ in range(count)
    ]
    try:
        yield [process.pid for process in running]
    finally:
        for process in running:
            process.terminate()
        for process in running:
            try:
                process.wait(FAREWELL)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
