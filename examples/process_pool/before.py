"""CPU work in a pool of the application's own: futures in a dict, and a route to ask for them."""

from collections.abc import AsyncIterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

from fastapi import FastAPI, HTTPException

from examples.journal import fail_the_first_time, note

futures: dict[str, "Future[int]"] = {}


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    with ProcessPoolExecutor(max_workers=2) as executor:
        app.state.executor = executor
        yield


app = FastAPI(lifespan=lifespan)


def heavy_cpu_task(n: int, name: str) -> int:
    """Sum of the squares below n."""
    fail_the_first_time(name)
    total = sum(i * i for i in range(n))
    note(f"done {name}")
    return total


@app.post("/jobs", status_code=202)
async def submit(n: int, name: str) -> dict[str, str]:
    job_id = str(uuid4())
    futures[job_id] = app.state.executor.submit(heavy_cpu_task, n, name=name)
    return {"id": job_id}


@app.get("/jobs/{job_id}")
async def status(job_id: str) -> dict[str, Any]:
    if job_id not in futures:
        raise HTTPException(404, "No such job")
    future = futures[job_id]
    if not future.done():
        return {"status": "running" if future.running() else "queued"}
    if error := future.exception():
        return {"status": "failed", "error": str(error)}
    return {"status": "finished", "result": future.result()}


@app.get("/ping")
async def ping() -> str:
    return "pong"
