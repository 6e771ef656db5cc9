"""The jobs that wait, for arq: `arq bench.arq_app.WorkerSettings`."""

import asyncio
import os
import sys
from typing import Any

from arq import create_pool
from arq.connections import RedisSettings

from bench import waits

REDIS = RedisSettings(unix_socket_path=os.environ["BENCH_SOCKET"])


async def sleep(_context: dict[str, Any]) -> None:
    """Wait."""
    await waits.sleep_async()


async def fetch(_context: dict[str, Any]) -> None:
    """The same, over HTTP."""
    await waits.fetch_async()


class WorkerSettings:
    """What arq's command reads."""

    functions = (sleep, fetch)
    redis_settings = REDIS
    max_jobs = int(os.environ["BENCH_CONCURRENCY"])


async def enqueue(name: str, count: int) -> None:
    """So many jobs."""
    pool = await create_pool(REDIS)
    for _ in waits.turns(count):
        await pool.enqueue_job(name)


if __name__ == "__main__":
    asyncio.run(enqueue(sys.argv[1], int(sys.argv[2])))
