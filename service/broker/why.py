"""Why a job stands where it does: what it waits for, or how it came to its end; in words, and data.

Each reason has a kind, which programs can tell apart, a sentence for people, and what it is about.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import unquote

import redis
from rq.job import Job, JobStatus
from rq.rate_limit import RateLimitRegistry
from rq.results import Result
from rq.scheduler import SCHEDULER_LOCKING_KEY_TEMPLATE
from rq.utils import as_text

from service.broker.death import Reason, how_it_ended, last_execution
from service.broker.line import Line, LineReader, Serving
from service.broker.records import JobRecord
from service.broker.status import Status, status_of

MOST_NAMED = 20  # jobs that are named in one answer, for each thing that is waited for


@dataclass(frozen=True, slots=True)
class Why:
    """The answer. The first reason is the one to look at first."""

    status: Status
    summary: str
    reasons: list[Reason]


class Explainer:
    """Looks for reasons: one more round trip beyond reading the job, two where a line is asked."""

    def __init__(self, client: "redis.Redis") -> None:
        self._client, self._lines = client, LineReader(client)

    def why(self, job: JobRecord) -> Why:
        """Of a job as it was read."""
        reasons = list(self._reasons(job))
        return Why(job.status, reasons[0].detail, reasons)

    def _reasons(self, job: JobRecord) -> Iterator[Reason]:
        if _is_late(job):
            yield Reason(
                "expired",
                f"Its time was over at {_moment(job.expires_at)}: it won't be run, and is canceled "
                "when a worker comes to it.",
                {"expires_at": job.expires_at},
            )
        match job.status:
            case Status.QUEUED:
                yield from before_a_worker(job, self._lines.of_job(job.id, job.queue))
            case Status.SCHEDULED:
                yield from self._until_its_time(job)
            case Status.WAITING if job.waiting_for == "dependencies":
                yield from self._other_jobs(job)
            case Status.WAITING if job.waiting_for == "concurrency":
                yield from self._limit(job)
            case Status.WAITING:
                yield Reason("being_written", "It has been written, and is about to be queued.")
            case Status.RUNNING:
                yield from self._running(job)
            case Status.FINISHED | Status.FAILED | Status.CANCELED:
                yield from self._ended(job)

    def _until_its_time(self, job: JobRecord) -> Iterator[Reason]:
        with self._client.pipeline(transaction=False) as pipe:
            pipe.exists(SCHEDULER_LOCKING_KEY_TEMPLATE % job.queue)
            pipe.lindex(f"{Job.key_for(job.id)}:history", -1)
            is_looked_after, entry = pipe.execute()
        at = _moment(job.scheduled_for)
        last = last_execution(entry)
        if not is_looked_after:
            yield Reason(
                "no_scheduler",
                f"No scheduler looks after the queue {job.queue!r}, so nobody would queue it when "
                "its time has come: start a worker that serves this queue.",
                {"queue": job.queue},
            )
        if last and job.attempts:
            yield Reason(
                "retry",
                f"Its execution {job.attempts} ended with {last.reason}; it is run again at {at}.",
                {"at": job.scheduled_for, "reason": last.reason, "retries_left": job.retries_left},
            )
        else:
            yield Reason("scheduled", f"It is scheduled for {at}.", {"at": job.scheduled_for})

    def _other_jobs(self, job: JobRecord) -> Iterator[Reason]:
        waits_for = self._client.smembers(f"{Job.redis_job_namespace_prefix}:{job.id}:dependencies")
        ids = sorted(map(as_text, waits_for))
        with self._client.pipeline(transaction=False) as pipe:
            for other in ids[:MOST_NAMED]:
                pipe.hget(Job.key_for(other), "status")
            statuses = pipe.execute()
        for other, rq in zip(ids, statuses, strict=False):
            status = status_of(JobStatus(as_text(rq))) if rq else None
            how = status or "gone"
            yield Reason(
                "dependency",
                f"It waits for the job {other}, which is {how}.",
                {"job": other, "job_status": status, "of": len(ids)},
            )
        if not ids:
            yield Reason("dependency", "What it waited for has ended; it is about to be queued.")

    def _limit(self, job: JobRecord) -> Iterator[Reason]:
        key = as_text(self._client.hget(Job.key_for(job.id), "rate_limit_key") or b"")
        limit = RateLimitRegistry(key, self._client)
        with self._client.pipeline(transaction=False) as pipe:
            pipe.hget(limit.config_key, "concurrency")
            pipe.zrange(limit.allowed_key, 0, MOST_NAMED - 1)
            pipe.zrank(limit.rate_limited_key, job.id)
            most, holders, rank = pipe.execute()
        held_by = [as_text(holder) for holder in holders]
        most = int(most or 0)
        before = rank or 0
        yield Reason(
            "concurrency",
            f"Of jobs under the limit {unquote(key)!r} {most} may be queued or run at once; "
            f"{_listed(held_by)} {'have the places' if len(held_by) > 1 else 'has the place'}"
            + (
                f", and {before} wait{'s' * (before == 1)} longer than this one." if before else "."
            ),
            {"key": key, "limit": most, "holders": held_by, "before": before},
        )

    def _running(self, job: JobRecord) -> Iterator[Reason]:
        fraction = job.progress.fraction if job.progress else None
        done = f"; {fraction:.0%} of it is done" if fraction is not None else ""
        if self._client.hexists(Job.key_for(job.id), "cancel_requested"):
            yield Reason("canceling", "It runs, and was told to stop.", {"worker": job.worker})
        yield Reason(
            "running",
            f"It has run since {_moment(job.started_at)} on the worker {job.worker}{done}.",
            {"since": job.started_at, "worker": job.worker, "fraction": fraction}
            | {"attempt": job.attempts},
        )

    def _ended(self, job: JobRecord) -> Iterator[Reason]:
        key = Job.key_for(job.id)
        with self._client.pipeline(transaction=False) as pipe:
            pipe.lindex(f"{key}:history", -1)
            pipe.hget(key, "canceled_by")
            pipe.exists(Result.get_key(job.id))
            entry, canceled_by, has_result = pipe.execute()
        yield how_it_ended(
            job, last_execution(entry), as_text(canceled_by) if canceled_by else None
        )
        if job.status is Status.FINISHED and not has_result:
            yield Reason("result_gone", "Its result is no longer kept.")


def before_a_worker(job: JobRecord, line: Line) -> Iterator[Reason]:
    """Why a queued job is not taken yet."""
    if line.suspended:
        yield Reason("suspended", "All workers are told to take nothing: `rq resume` ends that.")
    if job.queue in line.paused:
        yield Reason("paused", f"The queue {job.queue!r} is paused.", {"queue": job.queue})
    serving = line.serving(job.queue)
    if not serving:
        yield _no_worker(job.queue, line)
    if line.place is None:
        yield Reason("position", "It has just left its queue.", {"position": None})
        return
    yield _position(line, line.place, job.queue, serving)


def _no_worker(queue: str, line: Line) -> Reason:
    others = sorted({name for worker in line.workers for name in worker.queues})
    there_are = f"those that live serve {', '.join(others)} only" if others else "none lives at all"
    return Reason(
        "no_worker",
        f"No worker listens on the queue {queue!r}: {there_are}. Start one that does "
        "(PADDOCK_QUEUES).",
        {"queue": queue, "served": others},
    )


def _is_late(job: JobRecord) -> bool:
    """Whether it waits past its expiry. One that was ever started is run, however late it is."""
    if job.status.is_final or job.expires_at is None or job.attempts or job.started_at:
        return False
    return job.expires_at <= datetime.now(UTC)


def _position(line: Line, place: int, queue: str, serving: list[Serving]) -> Reason:
    running = [
        {"id": run.id, "task": run.task or None, "worker": worker.name, "seconds": run.elapsed}
        for worker in serving
        for run in worker.running
    ]
    room = sum(worker.room for worker in serving)
    return Reason(
        "position",
        f"{_jobs_are(place)} before it on the queue {queue!r}"
        f"{_what_runs(len(serving), len(running), room)}.",
        {"position": place + 1, "before": line.queues[queue].next[:place]}
        | {"running": running[:MOST_NAMED]},
    )


def _jobs_are(number: int) -> str:
    return {0: "Nothing is", 1: "One job is"}.get(number, f"{number:,} jobs are")


def _what_runs(workers: int, running: int, room: int) -> str:
    if not workers:
        return ""
    they_run = "its worker runs" if workers == 1 else f"its {workers} workers run"
    return f"; {they_run} {running} of {room} job{'s' * (room > 1)}"


def _moment(at: datetime | None) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC" if at else "a time that is not known"


def _listed(ids: list[str]) -> str:
    if not ids:
        return "nobody"
    more = f" and {len(ids) - 3} more" if len(ids) > 3 else ""
    return ", ".join(ids[:3]) + more
