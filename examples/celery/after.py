"""The same on Paddock: the decorator is another, and where AsyncResult comes from."""

from typing import Any

from fastapi import FastAPI, HTTPException

from examples.journal import fail_the_first_time, note
from jobs import Retry, job
from service.adapters.result import AsyncResult
from service.errors import JobNotFound

app = FastAPI()


@job(queue="cpu", retry=Retry(max=3, interval=1))
def heavy_cpu_task(n: int, name: str) -> int:
    """Sum of the squares below n."""
    fail_the_first_time(name)
    total = sum(i * i for i in range(n))
    note(f"done {name}")
    return total


@app.post("/tasks", status_code=202)
def submit(n: int, name: str) -> dict[str, str]:
    return {"id": heavy_cpu_task.delay(n, name=name).id}


@app.get("/tasks/{task_id}")
def result(task_id: str) -> dict[str, Any]:
    found = AsyncResult(task_id)
    try:
        if not found.ready():
            return {"status": found.state}
    except JobNotFound:
        raise HTTPException(404, "No such task") from None
    return {"status": found.state, "result": found.result if found.successful() else None}


@app.get("/ping")
async def ping() -> str:
    return "pong"
