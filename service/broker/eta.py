"""When a job is expected to start and to end, from how long its like took lately.

What can be known is known: what stands before it, what its workers run and for how long, and how
long the last executions of each task took. What will come to the front, fail or be slow is not.
"""

import logging
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import redis
from redis.exceptions import ResponseError

from service.broker.line import Line, LineReader, Running, Serving, Waiting
from service.broker.records import JobRecord
from service.broker.simulation import Crew, Load, seconds_until
from service.broker.status import Status
from service.history import LATEST, read_mean

LEAST_FRACTION = 0.02  # of its work that a job must have done for its progress to be evidence
OVERDUE = 0.25  # of its age so far: what a job is expected to take yet that takes longer than most

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Eta:
    """What is expected of a job that has not ended."""

    position: int | None  #: on its queue, 1 is taken next; None where it stands on none
    start_at: datetime | None  #: None where it runs already, or nobody can tell
    end_at: datetime | None  #: None where nobody can tell


class Forecaster:
    """Looks at what there is, and says what is to be expected."""

    def __init__(self, client: "redis.Redis") -> None:
        self._client, self._lines = client, LineReader(client)

    def eta(self, job: JobRecord) -> Eta | None:
        """None of a job that has ended, or waits for something else than a worker."""
        try:
            match job.status:
                case Status.RUNNING:
                    return self._of_running(job)
                case Status.QUEUED | Status.SCHEDULED:
                    return expected(job, self._lines.of_job(job.id, job.queue))
        except ResponseError as error:  # a user of an ACL, say, who may not; the job can be shown
            logger.warning("Redis refuses to tell what is before a job: %s", error)
        return None

    def waits(self, queues: list[str]) -> dict[str, float | None]:
        """Seconds that a job which comes now would wait on each of these queues.

        None where nobody can tell: no worker listens, or none of the tasks has run yet.
        """
        line = self._lines.of_queues(queues)
        return {queue: seconds_before(queue, line) for queue in queues}

    def _of_running(self, job: JobRecord) -> Eta:
        with self._client.pipeline(transaction=False) as pipe:
            pipe.hget(LATEST, f"{job.task} {job.queue}")
            pipe.time()
            counted, (seconds, micros) = pipe.execute()
        started = job.started_at.timestamp() if job.started_at else 0.0
        now = seconds + micros / 1e6
        run = Running.since(started, now, job.progress, job.id, job.task, job.queue)
        rest = remaining(run, read_mean((counted or b"").decode(errors="replace")))
        return Eta(None, None, None if rest is None else _moment(now + rest))


def expected(job: JobRecord, line: Line) -> Eta | None:
    """Of a job that waits for a worker, or for its time; None where there is nothing to tell."""
    if job.status is Status.QUEUED and line.place is None:
        return None  # it has left its queue meanwhile
    wait = seconds_before(job.queue, line)
    start = None if wait is None else line.now + timedelta(seconds=wait)
    if job.scheduled_for is not None and start is not None:
        start = max(start, job.scheduled_for)
    if line.place is None and start is None:
        return None
    takes = line.means.get((job.task, job.queue))
    end = start + timedelta(seconds=takes) if start and takes is not None else None
    return Eta(None if line.place is None else line.place + 1, start, end)


def seconds_before(queue: str, line: Line) -> float | None:
    """Until a worker takes what stands behind all that this line holds of the queue."""
    serving = line.serving(queue)
    if line.is_held(queue) or not serving:
        return None
    typical = _typical(line)
    loads = {
        name: _load(name, line.queues[name], line, typical)
        for name in _taken_before(queue, serving)
        if name in line.queues and name not in line.paused
    }
    crews = [_crew(worker, line, typical) for worker in serving]
    known = {name: load for name, load in loads.items() if load is not None}
    if len(known) < len(loads) or any(crew is None for crew in crews):
        return None
    return seconds_until(queue, known, [crew for crew in crews if crew is not None])


def _taken_before(queue: str, serving: list[Serving]) -> set[str]:
    """This queue, and those that go before it at some worker: how long others take is no matter."""
    return {name for worker in serving for name in worker.queues[: worker.queues.index(queue) + 1]}


def remaining(run: Running, mean: float | None) -> float | None:
    """Seconds that it is going to run yet, where others of its task take `mean` seconds."""
    if run.fraction is not None and run.fraction >= LEAST_FRACTION and run.at > 0:
        return max(run.at / run.fraction - run.elapsed, 0.0)
    if mean is None:
        return None
    return max(mean - run.elapsed, run.elapsed * OVERDUE)


def _typical(line: Line) -> float | None:
    """What to expect of tasks that have not run yet: what the others take that are in the line."""
    waiting = [(task, name) for name, each in line.queues.items() for task in each.tasks]
    running = [(run.task, run.queue) for worker in line.workers for run in worker.running]
    known = [line.means[pair] for pair in waiting + running if pair in line.means]
    return sum(known) / len(known) if known else None


def _load(name: str, waiting: Waiting, line: Line, typical: float | None) -> Load | None:
    """None where nobody can tell how long it takes."""
    seconds = [line.means.get((task, name), typical) for task in waiting.tasks]
    known = [each for each in seconds if each is not None]
    return Load(waiting.length, known) if len(known) == len(seconds) else None


def _crew(worker: Serving, line: Line, typical: float | None) -> Crew | None:
    rests = [
        remaining(run, line.means.get((run.task, run.queue), typical)) for run in worker.running
    ]
    known = [rest for rest in rests if rest is not None]
    if len(known) < len(rests):
        return None
    return Crew(worker.queues, [*known, *[0.0] * (worker.room - len(known))])


def _moment(unix: float) -> datetime:
    return datetime.fromtimestamp(unix, UTC)
