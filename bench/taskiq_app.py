"""The jobs that wait, for Taskiq: `taskiq worker bench.taskiq_app:broker`."""

import asyncio
import os
import sys

from taskiq_redis import RedisAsyncResultBackend, RedisStreamBroker

from bench import waits

URL = f"unix://{os.environ['BENCH_SOCKET']}"
# The broker whose jobs outlive a worker, from the stream's start: they are sent before it listens
broker = RedisStreamBroker(URL, consumer_id="0").with_result_backend(RedisAsyncResultBackend(URL))


@broker.task(task_name="sleep")
async def sleep() -> None:
    """Wait."""
    await waits.sleep_async()


@broker.task(task_name="fetch")
async def fetch() -> None:
    """The same, over HTTP."""
    await waits.fetch_async()


async def enqueue(name: str, count: int) -> None:
    """So many jobs."""
    await broker.startup()
    task = {"sleep": sleep, "fetch": fetch}[name]
    for _ in waits.turns(count):
        await task.kiq()
    await broker.shutdown()


if __name__ == "__main__":
    asyncio.run(enqueue(sys.argv[1], int(sys.argv[2])))
