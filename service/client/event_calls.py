"""Following a job as the service tells of it, for both clients."""

import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from service.client.answers import json_in
from service.client.errors import AnswerUnreadable, JobNotFound, RequestFailed, ServiceUnreachable
from service.client.exchange import Caller
from service.client.jobs import Event, Job, LogLine, Progress
from service.client.reading import read, read_list
from service.client.requests import follow, get


@dataclass(frozen=True, slots=True)
class _Message:
    """A Server-Sent Event."""

    kind: str
    id: str
    data: Any


class EventCalls(Caller):
    """Hear of what happens to jobs."""

    async def events(self, job: Job | str) -> AsyncGenerator[Event, None]:
        """All that happens to the job, from its beginning to its end, as it happens.

        The service is not asked, it tells. Where the connection breaks, it goes on from the event
        that was heard last: none is lost, and none comes twice. Of what a job reports of its
        progress, the latest is told. Raises `JobNotFound`, also once the job is deleted.
        """
        job_id = job.id if isinstance(job, Job) else job
        known = _unbegun(read(Job, await self._document(get("jobs", job_id))))
        last, is_alive = "", False
        exchange = self._exchange(follow("jobs", job_id, "events", last=last))
        while True:
            try:
                async with aclosing(exchange.lines()) as lines:
                    async for message in _messages(lines):
                        is_alive = True
                        if message is None:
                            continue
                        if message.kind == "deleted":
                            raise _gone(job_id)
                        last = message.id or last
                        if event := _event(message, known):
                            known = event.job
                            yield event
                        if message.kind == "result":
                            return
                raise ServiceUnreachable("the service has ended the stream", is_passing=True)
            except RequestFailed as failure:
                if is_alive:  # it went on: this is a new failure, with all its tries
                    exchange = self._exchange(follow("jobs", job_id, "events", last=last))
                    is_alive = False
                await exchange.pause_after(failure)


def _unbegun(job: Job) -> Job:
    """What is known of it from its beginning on."""
    return Job(
        id=job.id,
        task=job.task,
        status=job.status,
        queue=job.queue,
        parameters=job.parameters,
        enqueued_at=job.enqueued_at,
        scheduled_for=job.scheduled_for,
        expires_at=job.expires_at,
        depends_on=job.depends_on,
        batch=job.batch,
    )


async def _messages(lines: AsyncIterator[bytes]) -> AsyncGenerator[_Message | None, None]:
    """None for a comment, which shows that the stream lives; what is no event is passed over."""
    fields: dict[bytes, bytes] = {}
    async for line in lines:
        if line.startswith(b":"):
            yield None
        elif line:
            name, _, value = line.partition(b":")
            fields[name] = value.removeprefix(b" ")
        elif b"event" in fields and b"data" in fields:
            event_id = fields.get(b"id", b"").decode()
            yield _Message(fields[b"event"].decode(), event_id, json_in(fields[b"data"]))
            fields = {}
        else:
            fields = {}


def _event(message: _Message, job: Job) -> Event | None:
    """None for a kind that a newer service may have."""
    data = message.data
    try:
        match message.kind:
            case "status":
                at = datetime.fromisoformat(data["at"])
                return Event(kind="status", job=_moved(job, data, at), at=at)
            case "progress":
                progress, at = read(Progress, data), datetime.fromisoformat(data["at"])
                return Event(kind="progress", job=replace(job, progress=progress), at=at)
            case "log":
                return Event(kind="log", job=job, lines=tuple(read_list(LogLine, data["lines"])))
            case "result":
                ended = read(Job, data)
                return Event(kind="result", job=ended, at=ended.ended_at)
    except (KeyError, TypeError, ValueError) as error:
        raise AnswerUnreadable(f"This is no event: {json.dumps(data)[:200]}") from error
    return None


def _moved(job: Job, data: Any, at: datetime) -> Job:
    """The job, as it is in this status."""
    moved = replace(job, status=data["status"], attempts=data["attempt"], ended_at=None)
    if moved.status == "running":
        return replace(moved, started_at=at, worker=data["worker"], progress=None)
    return replace(moved, ended_at=at) if moved.has_ended else moved


def _gone(job_id: str) -> JobNotFound:
    told = f"The job {job_id!r} was deleted meanwhile, or its result was not kept."
    return JobNotFound(404, {"title": "There is no such job", "status": 404, "detail": told})
