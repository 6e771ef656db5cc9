"""A form that sends mails, with FastAPI's BackgroundTasks."""

import asyncio
import time

from fastapi import BackgroundTasks, FastAPI, Form

from examples.journal import fail_the_first_time, note

app = FastAPI()


def send_one_by_one(message: str) -> None:
    """A loop over the recipients, which renders each mail and waits for the server."""
    fail_the_first_time(message)
    for _ in range(5):
        sum(i * i for i in range(100_000))
        time.sleep(0.05)
    note(f"done {message}")


async def send_and_wait(message: str) -> None:
    """One mail, to a slow server."""
    await asyncio.sleep(0.5)
    note(f"done async {message}")


@app.post("/send", status_code=202)
async def send(background_tasks: BackgroundTasks, message: str = Form(...)) -> dict[str, str]:
    background_tasks.add_task(send_one_by_one, message)
    background_tasks.add_task(send_and_wait, message)
    return {"message": "accepted"}


@app.get("/ping")
async def ping() -> str:
    return "pong"
