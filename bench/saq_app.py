"""The jobs that wait, for SAQ: `saq bench.saq_app.settings`."""

import asyncio
import os
import sys
from typing import Any

from redis.asyncio import Redis
from saq.queue.redis import RedisQueue

from bench import waits

queue = RedisQueue(Redis(unix_socket_path=os.environ["BENCH_SOCKET"]))


async def sleep(_context: dict[str, Any]) -> None:
    """Wait."""
    await waits.sleep_async()


async def fetch(_context: dict[str, Any]) -> None:
    """The same, over HTTP."""
    await waits.fetch_async()


settings = {
    "queue": queue,
    "functions": [sleep, fetch],
    "concurrency": int(os.environ["BENCH_CONCURRENCY"]),
}


async def enqueue(name: str, count: int) -> None:
    """So many jobs."""
    for _ in waits.turns(count):
        await queue.enqueue(name)


if __name__ == "__main__":
    asyncio.run(enqueue(sys.argv[1], int(sys.argv[2])))
