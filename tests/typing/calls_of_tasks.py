"""Read by type checkers, never run: they know what a task takes and what its job returns.

A line that ends in `# wrong` must be an error to each of them, and no other line may be.
"""

from typing import assert_type

from jobs import Task, job
from jobs.resize_image import Picture, resize_image
from service.adapters.background import BackgroundTask, BackgroundTasks
from service.adapters.jobs import BlockingJobs, Jobs


@job
def count(text: str, times: int = 1) -> int:
    return len(text) * times


@job(queue="io")
async def fetch(url: str) -> bytes:
    return url.encode()


async def submitted(jobs: Jobs, blocking: BlockingJobs) -> None:
    assert_type(await (await jobs.submit(count, "a", times=2)).result(timeout=30), int)
    assert_type(await (await jobs.submit(fetch, url="x")).result(), bytes)
    assert_type(blocking.submit(count, "a").result(), int)
    assert_type(blocking.submit(resize_image, path="a.jpg").result(), Picture)
    assert_type(blocking.submit(fetch, "x").result(), bytes)

    await jobs.submit(count)  # wrong
    await jobs.submit(count, 3)  # wrong
    await jobs.submit(count, "a", tims=2)  # wrong
    await jobs.submit(fetch, url=1)  # wrong
    blocking.submit(count, "a", "b")  # wrong
    blocking.submit(len, "a")  # wrong


def added(tasks: BackgroundTasks) -> BackgroundTask:
    tasks.add_task(count, "a", times=2)
    tasks.add_task(fetch, url="x")
    tasks.add_task(count, 3)  # wrong
    tasks.add_task(fetch)  # wrong
    BackgroundTask(count, times="a")  # wrong
    return BackgroundTask(fetch, "x")


def called() -> None:
    assert_type(count("a"), int)
    assert_type(count.name, str)
    count(3)  # wrong


def passed(task: Task[[str], int]) -> int:
    return task("a")
