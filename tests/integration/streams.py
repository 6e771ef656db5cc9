"""Server-Sent Events as tests read them, and an API in their own process to read them from."""

import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from dataclasses import dataclass
from typing import Any

import httpx2 as httpx
import redis
import uvicorn

from service.broker.broker import Broker
from service.cli.listener import address, listen
from service.journal import JOURNAL
from service.settings import Settings
from tests.conftest import PATIENCE, eventually

WRITE = """
for i = 2, #ARGV do journal(KEYS[1], ARGV[1], ARGV[i], 1) end
"""
REPORT = """
redis.call('HSET', KEYS[1], 'progress', ARGV[2])
tell_watchers(ARGV[1])
"""


@dataclass(frozen=True)
class Sse:
    """One event."""

    name: str
    data: Any
    id: str

    def __str__(self) -> str:
        return f"{self.name} {self.data.get('status', '')}".strip()


class Parser:
    """Bytes, as they come → events; comments are counted."""

    def __init__(self) -> None:
        self._held = b""
        self.comments = 0

    def feed(self, piece: bytes) -> Iterator[Sse]:
        *blocks, self._held = (self._held + piece).split(b"\n\n")
        for block in blocks:
            fields: dict[str, str] = {}
            for line in block.decode().split("\n"):
                name, _, value = line.partition(":")
                self.comments += not name
                fields[name] = value.removeprefix(" ")
            if "event" in fields:
                yield Sse(fields["event"], json.loads(fields["data"]), fields.get("id", ""))


@contextlib.asynccontextmanager
async def stream(url: str, last: str | None = None) -> AsyncIterator[AsyncIterator[Sse]]:
    """The events at this URL, after this one."""
    headers = {} if last is None else {"Last-Event-ID": last}
    async with (
        httpx.AsyncClient(timeout=PATIENCE) as client,
        client.stream("GET", url, headers=headers) as response,
    ):
        assert response.status_code == 200, await response.aread()
        yield _events(response)


async def _events(response: httpx.Response) -> AsyncIterator[Sse]:
    parser = Parser()
    async for piece in response.aiter_raw():
        for event in parser.feed(piece):
            yield event


async def all_of(url: str, last: str | None = None) -> list[Sse]:
    """Until the stream ends."""
    async with asyncio.timeout(PATIENCE), stream(url, last) as events:
        return [event async for event in events]


def read(url: str, last: str | None = None) -> list[Sse]:
    return asyncio.run(all_of(url, last))


class Journalist:
    """Writes what a worker's scripts would."""

    def __init__(self, connection: redis.Redis) -> None:
        self._write = connection.register_script(JOURNAL + WRITE)
        self._report = connection.register_script(JOURNAL + REPORT)

    def log(self, job_id: str, *texts: str) -> None:
        """An entry for each of these lines."""
        entries = [
            json.dumps({"event": "log", "lines": [[1.5, "stdout", None, text]]}) for text in texts
        ]
        self._write(keys=[f"rq:job:{job_id}"], args=[job_id, *entries])

    def progress(self, job_id: str, fraction: float, number: int) -> None:
        told = {"fraction": fraction, "message": None, "at": 1.5, "number": number}
        self._report(keys=[f"rq:job:{job_id}"], args=[job_id, json.dumps(told)])


class Served:
    """An application on a real server in a thread of its own; what it holds can be looked at."""

    def __init__(self, app: Any, broker: Broker) -> None:
        self.broker = broker
        self._listener = listen(Settings(port=0))
        self.url = address(self._listener)
        config = uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=20)
        self.server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self.server.run, kwargs={"sockets": [self._listener]}, daemon=True
        )

    def __enter__(self) -> "Served":
        self._thread.start()
        eventually(lambda: self.server.started)
        return self

    def __exit__(self, *_: object) -> None:
        self.server.should_exit = True
        self._thread.join(PATIENCE)
        self._listener.close()
        assert not self._thread.is_alive()


def channels(connection: redis.Redis) -> list[bytes]:
    """What anybody listens to."""
    found: list[bytes] = connection.pubsub_channels("paddock:*")
    return sorted(found)


def meanwhile(reading: Coroutine[Any, Any, Any], *steps: Callable[[], object]) -> Any:
    """What is read while these are done, in another thread, one after the other."""

    async def both() -> Any:
        task = asyncio.ensure_future(reading)
        for step in steps:
            await asyncio.to_thread(step)
        return await asyncio.wait_for(task, PATIENCE)

    return asyncio.run(both())
