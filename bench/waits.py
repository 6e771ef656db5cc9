"""What jobs do that mostly wait, and their notes of when they began and ended.

Every contender's job writes the same two lines to the same file, so all are measured alike, and
none by what it tells of itself.
"""

import os
import random
import time
import urllib.request
from collections.abc import Iterator

SECONDS = float(os.environ.get("BENCH_SECONDS", "1"))  # that each job waits
LONGEST_PAUSE = 0.5  # seconds between jobs that are sent one by one


def turns(count: int) -> Iterator[int]:
    """So many jobs to send. With BENCH_ONE_BY_ONE with pauses, and the time of each printed."""
    for number in range(count):
        if "BENCH_ONE_BY_ONE" in os.environ:
            time.sleep(random.uniform(0.1, LONGEST_PAUSE))
            print(time.time(), flush=True)
        yield number


def note(what: str) -> None:
    """A line with the time, written in one piece."""
    file = os.open(os.environ["BENCH_NOTES"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, f"{what} {time.time()}\n".encode())
    os.close(file)


async def sleep_async() -> None:
    """Wait in the event loop."""
    import asyncio

    note("begin")
    await asyncio.sleep(SECONDS)
    note("end")


async def fetch_async() -> None:
    """Ask the slow server, in the event loop."""
    import aiohttp

    note("begin")
    url = os.environ["BENCH_SERVER"]
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        await answer.read()
    note("end")


def sleep_blocking() -> None:
    """Wait in a thread or a process."""
    note("begin")
    time.sleep(SECONDS)
    note("end")


def fetch_blocking() -> None:
    """Ask the slow server from a thread or a process."""
    note("begin")
    with urllib.request.urlopen(os.environ["BENCH_SERVER"]) as answer:
        answer.read()
    note("end")
