"""The same form on Paddock: one import is another, and the functions are declared."""

import asyncio
import time

from fastapi import FastAPI, Form, HTTPException

from examples.journal import fail_the_first_time, note
from jobs import Retry, job
from service.adapters.background import BackgroundTasks
from service.adapters.dependencies import JobsDep
from service.errors import JobNotFound

app = FastAPI()


@job(queue="mail", retry=Retry(max=3, interval=1))
def send_one_by_one(message: str) -> None:
    """A loop over the recipients, which renders each mail and waits for the server."""
    fail_the_first_time(message)
    for _ in range(5):
        sum(i * i for i in range(100_000))
        time.sleep(0.05)
    note(f"done {message}")


@job(queue="mail", retry=3)
async def send_and_wait(message: str) -> None:
    """One mail, to a slow server."""
    await asyncio.sleep(0.5)
    note(f"done async {message}")


@app.post("/send", status_code=202)
async def send(background_tasks: BackgroundTasks, message: str = Form(...)) -> dict[str, str]:
    sent = background_tasks.add_task(send_one_by_one, message)
    background_tasks.add_task(send_and_wait, message)
    return {"message": "accepted", "id": sent.id}


@app.get("/jobs/{job_id}")
async def status(job_id: str, jobs: JobsDep) -> dict[str, str]:
    try:
        return {"status": await jobs.job(job_id).status()}
    except JobNotFound:
        raise HTTPException(404, "No such job") from None


@app.get("/ping")
async def ping() -> str:
    return "pong"
