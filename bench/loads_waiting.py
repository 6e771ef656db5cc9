"""The jobs that wait, as Paddock's tasks."""

from bench import waits
from jobs import job


@job(isolation="async")
async def sleep() -> None:
    """Together in one event loop."""
    await waits.sleep_async()


@job(isolation="async")
async def fetch() -> None:
    """The same, over HTTP."""
    await waits.fetch_async()


@job(isolation="thread")
def sleep_in_thread() -> None:
    """Together in one process, each in a thread."""
    waits.sleep_blocking()


@job(isolation="thread")
def fetch_in_thread() -> None:
    """The same, over HTTP."""
    waits.fetch_blocking()


@job(queue="default")
async def sleep_apart() -> None:
    """Each in a process of its own."""
    await waits.sleep_async()


@job(queue="default")
async def fetch_apart() -> None:
    """The same, over HTTP."""
    await waits.fetch_async()
