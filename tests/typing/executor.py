"""Read by type checkers, never run: they know tasks through the standard library's words as well.

A line that ends in `# wrong` must be an error to each of them, and no other line may be.
"""

import asyncio
import functools
from collections.abc import Iterator
from concurrent.futures import Executor, Future, as_completed
from typing import assert_type

from service.adapters.executor import JobExecutor
from service.adapters.future import JobFuture
from service.adapters.jobs import BlockingJob
from tests.sample_executor_tasks import Parcel, divide, multiply, weigh


def submitted(executor: JobExecutor) -> None:
    future = executor.submit(multiply, 6, y=7)
    assert_type(future, JobFuture[int])
    assert_type(future.result(timeout=30), int)
    assert_type(future.job, BlockingJob[int])
    assert_type(executor.submit(weigh, Parcel(3)), JobFuture[int])  # an `async` task
    assert_type(executor.submit(functools.partial(divide, divisor=3), 7).result(), tuple[int, int])
    assert_type(executor.map(multiply, [1, 2], [3, 4], timeout=30), Iterator[int])

    executor.submit(multiply, 6)  # wrong
    executor.submit(multiply, "6", 7)  # wrong
    executor.submit(multiply, 6, z=7)  # wrong
    executor.submit(weigh, 3)  # wrong
    JobExecutor(4)  # wrong
    JobExecutor(max_workers=4)  # wrong


def passed(executor: Executor) -> Future[int]:
    return executor.submit(multiply, 6, 7)


async def awaited(executor: JobExecutor) -> None:
    passed(executor)
    loop = asyncio.get_running_loop()
    assert_type(await loop.run_in_executor(executor, multiply, 6, 7), int)
    futures = [executor.submit(multiply, n, n) for n in range(3)]
    for future in as_completed(futures):
        assert_type(future.result(), int)
    assert_type(await asyncio.wrap_future(futures[0]), int)
