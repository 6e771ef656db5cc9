"""The server that comes with Paddock, for tests that would rather have a real Redis."""

import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from redis import Redis
from redis.exceptions import RedisError

from service.broker.connection import connect
from service.broker.embedded import last_words, server_command, socket_url
from service.errors import ServerFailed

PATIENCE = 10.0  # seconds until it has to answer
POLL_INTERVAL = 0.01  # seconds


@contextmanager
def real_redis() -> Iterator[str]:
    """Its URL, for as long as the block lasts. Raises `ServerFailed` where it does not start."""
    # Not pytest's tmp_path: a socket's path has to be short.
    with tempfile.TemporaryDirectory(prefix="paddock-") as name:
        folder = Path(name)
        server = subprocess.Popen(server_command(folder, None))
        try:
            with closing(connect(socket_url(folder))) as client:
                until = time.monotonic() + PATIENCE
                while not _answers(client):
                    if server.poll() is not None or time.monotonic() > until:
                        raise ServerFailed(f"Redis does not start: {last_words(folder)}")
                    time.sleep(POLL_INTERVAL)
            yield socket_url(folder)
        finally:
            server.kill()
            server.wait()


def _answers(client: Redis) -> bool:
    try:
        return bool(client.ping())
    except RedisError:
        return False
