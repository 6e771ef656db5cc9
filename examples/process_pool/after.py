"""The same on Paddock: the executor is another, its futures are found again, the dict is gone."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, HTTPException

from examples.journal import fail_the_first_time, note
from jobs import Retry, job
from service.adapters.executor import JobExecutor
from service.errors import JobNotFound


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    app.state.executor = JobExecutor()
    yield
    app.state.executor.shutdown(wait=False)  # what runs goes on


app = FastAPI(lifespan=lifespan)


@job(queue="cpu", retry=Retry(max=3, interval=1))
def heavy_cpu_task(n: int, name: str) -> int:
    """Sum of the squares below n."""
    fail_the_first_time(name)
    total = sum(i * i for i in range(n))
    note(f"done {name}")
    return total


@app.post("/jobs", status_code=202)
def submit(n: int, name: str) -> dict[str, str]:
    return {"id": app.state.executor.submit(heavy_cpu_task, n, name=name).job_id}


@app.get("/jobs/{job_id}")
def status(job_id: str) -> dict[str, Any]:
    try:
        future = app.state.executor.future(job_id)
    except JobNotFound:
        raise HTTPException(404, "No such job") from None
    if not future.done():
        return {"status": "running" if future.running() else "queued"}
    if error := future.exception():
        return {"status": "failed", "error": str(error)}
    return {"status": "finished", "result": future.result()}


@app.get("/ping")
async def ping() -> str:
    return "pong"
