"""Live events over HTTP: of one job, and of the whole service."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress
from dataclasses import asdict, replace
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Header, Response
from fastapi.concurrency import run_in_threadpool
from redis.exceptions import RedisError

from service.api.answers import encoded, problems
from service.api.dependencies import BrokerDep, JobId, SettingsDep
from service.api.event_stream import HEARTBEAT, EventStream, event
from service.api.schemas import JobView, QueueView
from service.broker.broker import Broker
from service.broker.news import LogNews, News, Place, ProgressNews
from service.errors import JobNotFound
from service.settings import Settings

PAUSE = 0.25  # seconds between two looks at what is told of all jobs
QUEUES_INTERVAL = 1.0  # seconds between two looks at the queues, at least

router = APIRouter(tags=["events"])

_STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Server-Sent Events.",
        "content": {"text/event-stream": {}},
    }
}
LastEventId = Annotated[str, Header(description="Go on after this one.")]


@router.get(
    "/jobs/{job_id}/events",
    summary="Watch a job",
    response_class=Response,
    responses=_STREAM
    | {204: {"description": "It has ended, and all of it was told."}}
    | problems(s404="No such job.", s503="Redis is away."),
)
async def job_events(job_id: JobId, broker: BrokerDep, last_event_id: LastEventId = "") -> Response:
    """`status`, `progress`, `log`, and with the job's end its `result`, from the first on or after
    `Last-Event-ID`.
    """
    await run_in_threadpool(broker.job, job_id)
    place = Place.parse(last_event_id)
    if place.is_end and await broker.feed.has_no_more(job_id, place):
        return Response(status_code=HTTPStatus.NO_CONTENT)  # has a browser not come again
    return EventStream(_of_job(broker, job_id, place))


@router.get(
    "/events",
    summary="Watch the service",
    response_class=Response,
    responses=_STREAM | problems(s503="Redis is away."),
)
async def service_events(broker: BrokerDep, settings: SettingsDep) -> Response:
    """`job` where one has come to a status, and `queues` when they have changed."""
    await run_in_threadpool(broker.client.ping)
    return EventStream(_of_service(broker, settings))


async def _of_job(broker: Broker, job_id: str, place: Place) -> AsyncGenerator[bytes, None]:
    status = place.status
    async for now_at, news in broker.feed.follow(job_id, place):
        place, status = now_at, now_at.status
        yield HEARTBEAT if news is None else _told(news, place)
    if status is not None and status.is_final:
        try:
            job = await run_in_threadpool(broker.job, job_id)
        except JobNotFound:
            return
        if job.status is status:
            view = encoded(JobView.model_validate(job))
            yield event("result", view, str(replace(place, is_end=True)))


def _told(news: News, place: Place) -> bytes:
    match news:
        case LogNews():
            name = "log"
        case ProgressNews():
            name = "progress"
        case _:
            name = "status"
    return event(name, encoded(asdict(news)), str(place))


async def _of_service(broker: Broker, settings: Settings) -> AsyncGenerator[bytes, None]:
    shown, looked_at, loop = b"", 0.0, asyncio.get_running_loop()
    async for jobs in broker.feed.jobs(PAUSE):
        told = b"".join(map(_job_told, jobs))
        if loop.time() - looked_at >= QUEUES_INTERVAL:
            looked_at = loop.time()
            queues = shown
            with suppress(RedisError):  # it is away: they are told of when it is back
                queues = await run_in_threadpool(_queues, broker, settings)
            if queues != shown:
                shown = queues
                told += event("queues", queues)
        yield told or HEARTBEAT


def _job_told(job: dict[str, Any]) -> bytes:
    told = {name: job.get(name) for name in ("id", "task", "queue", "status")}
    return event("job", encoded(told))


def _queues(broker: Broker, settings: Settings) -> bytes:
    known = {*settings.served_queues, *broker.catalogue.queues()}
    return encoded([QueueView.model_validate(queue) for queue in broker.overview.queues(known)])
