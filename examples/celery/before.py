"""CPU work with Celery: a broker, a worker, a route to queue a task, one to ask for its result."""

import os
from typing import Any

from celery import Celery
from celery.result import AsyncResult
from fastapi import FastAPI

from examples.journal import fail_the_first_time, note

broker = os.environ.get("CELERY_BROKER_URL", "redis://localhost")
celery = Celery("examples", broker=broker, backend=os.environ.get("CELERY_RESULT_BACKEND", broker))
app = FastAPI()


@celery.task
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
    found = AsyncResult(task_id, app=celery)
    if not found.ready():
        return {"status": found.state}
    return {"status": found.state, "result": found.result if found.successful() else None}


@app.get("/ping")
async def ping() -> str:
    return "pong"
