"""All that goes on at one moment: queues, workers, and the jobs that run."""

from dataclasses import dataclass
from datetime import UTC, datetime

from service.broker.broker import Broker
from service.broker.listing import JobFilter
from service.broker.overview import QueueOverview, WorkerOverview
from service.broker.records import JobRecord
from service.broker.status import Status
from service.cli.output import duration
from service.cli.progress import told_progress
from service.cli.terminal import printable

MOST_RUNNING = 100  # running jobs that are looked at, the newest


@dataclass(frozen=True, slots=True)
class Survey:
    """What was seen."""

    at: datetime
    queues: list[QueueOverview]
    workers: list[WorkerOverview]
    running: list[JobRecord]  #: the newest

    @classmethod
    def of(cls, broker: Broker, queues: list[str]) -> "Survey":
        """Look; `queues` are those known that have had no job yet."""
        return cls(
            datetime.now(UTC),
            broker.overview.queues(queues),
            broker.overview.workers(),
            broker.listing.latest(JobFilter(status=Status.RUNNING), MOST_RUNNING),
        )

    def lines(self) -> list[str]:
        """A line for each of them."""
        told = [
            *(f"queue {_queue_told(queue)}" for queue in self.queues),
            *(f"worker {_worker_told(worker)}" for worker in self.workers),
            *(f"job {self._job_told(job)}" for job in self.running),
        ]
        return [printable(line) for line in told]

    def _job_told(self, job: JobRecord) -> str:
        begun = job.started_at or self.at
        since, told = duration((self.at - begun).total_seconds()), told_progress(job)
        return f"{job.id} {job.task} on {job.queue}: for {since}{', ' + told if told else ''}"


def _queue_told(queue: QueueOverview) -> str:
    counts = (
        f"{queue.queued} queued, {queue.running} running, {queue.scheduled} scheduled, "
        f"{queue.waiting} waiting, {queue.failed} failed; {queue.throughput:.1f} jobs a minute; "
        f"workers: {queue.workers}"
    )
    oldest = f"; the oldest waits for {duration(queue.oldest_age)}" if queue.oldest_age else ""
    return f"{queue.name}: {'paused; ' if queue.paused else ''}{counts}{oldest}"


def _worker_told(worker: WorkerOverview) -> str:
    job = f", runs {worker.job}" if worker.job else ""
    queues = ",".join(worker.queues)
    return f"{worker.name} ({worker.host} {worker.pid}): {worker.state} on {queues}{job}"
