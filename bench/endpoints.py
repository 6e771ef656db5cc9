"""The endpoints that people write by hand: nothing is checked, and nothing waits for a disk."""

import os

import redis
from fastapi import BackgroundTasks, FastAPI
from rq import Queue

from bench import celery_app, plain

app = FastAPI()
queue = Queue("default", connection=redis.Redis.from_url(os.environ["BENCH_RQ"]))


@app.post("/noop", status_code=202)
async def noop() -> dict[str, str]:
    """The least that an endpoint can do."""
    return {"id": "none"}


@app.post("/background", status_code=202)
async def background(tasks: BackgroundTasks) -> dict[str, str]:
    """Run after the answer, in this process, and lost with it."""
    tasks.add_task(plain.noop)
    return {"id": "none"}


@app.post("/rq", status_code=202)
def rq() -> dict[str, str]:
    """In a thread, as FastAPI runs a plain function."""
    return {"id": queue.enqueue(plain.noop).id}


@app.post("/rq-blocking", status_code=202)
async def rq_blocking() -> dict[str, str]:
    """On the event loop, which stands still meanwhile."""
    return {"id": queue.enqueue(plain.noop).id}


@app.post("/celery", status_code=202)
def celery() -> dict[str, str]:
    """In a thread."""
    return {"id": celery_app.noop.delay().id}


@app.post("/celery-blocking", status_code=202)
async def celery_blocking() -> dict[str, str]:
    """On the event loop."""
    return {"id": celery_app.noop.delay().id}
