"""The jobs that wait, as FastAPI's BackgroundTasks: `uvicorn bench.background_app:app`."""

import asyncio
import os
import sys

import aiohttp
from fastapi import BackgroundTasks, FastAPI

from bench import waits

app = FastAPI()


@app.post("/{name}", status_code=202)
async def submit(name: str, tasks: BackgroundTasks) -> None:
    """Run it after the answer, in this process."""
    tasks.add_task(waits.sleep_async if name == "sleep" else waits.fetch_async)


async def enqueue(url: str, name: str, count: int) -> None:
    """So many, as a client that sends them one after another on many connections."""
    async with aiohttp.ClientSession() as session:

        async def one() -> None:
            async with session.post(f"{url}/{name}") as answer:
                assert answer.status == 202, answer.status

        if "BENCH_ONE_BY_ONE" in os.environ:
            for _ in waits.turns(count):
                await one()
        else:
            await asyncio.gather(*(one() for _ in range(count)))


if __name__ == "__main__":
    asyncio.run(enqueue(sys.argv[1], sys.argv[2], int(sys.argv[3])))
