"""What happens, as it happens: to a job, and in the whole service."""

from collections.abc import AsyncGenerator
from http import HTTPStatus
from typing import Annotated, Any

import anyio
from fastapi import APIRouter, Header, Request, Response
from fastapi.concurrency import run_in_threadpool
from redis.exceptions import RedisError

from service.api.answers import problems
from service.api.dependencies import BrokerDep, JobId
from service.api.event_stream import COMMENT, HEARTBEAT, MEDIA_TYPE, EventStream, event
from service.api.schemas import JobView, QueueView
from service.broker.broker import Broker
from service.broker.entries import LogPiece, Step
from service.broker.feed import Follower
from service.broker.news import News, Place, ProgressNews
from service.errors import JobNotFound

REDIS_AWAY_PAUSE = 1.0  # seconds

router = APIRouter(tags=["events"])

_CONTENT: dict[str, Any] = {MEDIA_TYPE: {"schema": {"type": "string"}}}
_GONE = problems(s404="No such job.", s503="Redis is away.")
_NAMES: dict[type[News], str] = {Step: "status", ProgressNews: "progress", LogPiece: "log"}


@router.get(
    "/jobs/{job_id}/events",
    summary="Follow a job",
    response_class=Response,
    responses=_GONE
    | {
        200: {"description": "Events, until the job has ended.", "content": _CONTENT},
        204: {"description": "All was told before."},
    },
)
async def follow_job(
    job_id: JobId,
    broker: BrokerDep,
    request: Request,
    last_event_id: Annotated[
        str, Header(description="The `id` of the last event that was seen, to go on after it.")
    ] = "",
) -> Response:
    """Server-Sent Events `status`, `progress` and `log`, from the job's beginning on, and last of
    all `result`, with the job. `deleted` where it is deleted meanwhile. A comment every 15 seconds.
    """
    await request.body()  # nobody needs it; what comes after it is that the caller leaves
    place = Place.parse(last_event_id)
    reading = await broker.feed.look(job_id, place)
    if place.is_end and reading.has_ended and reading.last == place.entry:
        return Response(status_code=HTTPStatus.NO_CONTENT)  # a browser comes back no more
    return EventStream(_job_events(broker, job_id, place))


@router.get(
    "/events",
    summary="Watch the service",
    response_class=Response,
    responses=problems(s503="Redis is away.")
    | {200: {"description": "Events, without an end.", "content": _CONTENT}},
)
async def watch_service(broker: BrokerDep, request: Request) -> Response:
    """Server-Sent Events: `job` for each change of a job's status, at most some hundred a second,
    of those beyond it the latest of each job; `queues`, all of them, at the start and at most every
    second; `missed` where changes are told of no more. What was before is not told.
    """
    await request.body()
    await broker.service_feed.look()
    return EventStream(_service_events(broker))


async def _job_events(broker: Broker, job_id: str, place: Place) -> AsyncGenerator[bytes, None]:
    with broker.feed.follow(job_id, place) as follower:
        while True:
            try:
                told = await follower.news(HEARTBEAT)
                if told:
                    yield b"".join(event(_NAMES[type(news)], news, at) for at, news in told)
                elif not follower.has_ended:
                    yield COMMENT
                if follower.has_ended and (job := await _result(broker, follower)):
                    yield _end(job, follower.place)
                    return
            except JobNotFound:
                yield event("deleted", {"id": job_id})
                return
            except RedisError:  # while it asked for the result
                yield COMMENT
                await anyio.sleep(REDIS_AWAY_PAUSE)


async def _result(broker: Broker, follower: Follower) -> JobView | None:
    """The job as it has ended; None where it was retried since."""
    record = await run_in_threadpool(broker.job, follower.job_id)
    reading = await broker.feed.look(follower.job_id, follower.place)
    if not reading.has_ended or reading.entries or not record.status.is_final:
        follower.has_ended = False
        follower.mark()
        return None
    return JobView.model_validate(record)


def _end(job: JobView, place: Place) -> bytes:
    """The last event. Its id tells that there is no more, unless the job is retried."""
    return event("result", job, Place(place.entry, place.progress, place.status, is_end=True))


async def _service_events(broker: Broker) -> AsyncGenerator[bytes, None]:
    with broker.service_feed.look_on() as onlooker:
        while True:
            news = await onlooker.news(HEARTBEAT)
            told = [event("missed", {})] if news.has_missed else []
            told += [event("job", job) for job in news.jobs]
            if news.queues is not None:
                told.append(event("queues", list(map(QueueView.model_validate, news.queues))))
            yield b"".join(told) or COMMENT
