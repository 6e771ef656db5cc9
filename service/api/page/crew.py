"""The workers and what each of them runs now."""

from dataclasses import dataclass
from datetime import datetime

from service.broker.broker import Broker
from service.broker.overview import WorkerOverview
from service.broker.records import JobRecord

MOST_SHOWN = 10  # jobs of one worker; one of jobs that wait may run hundreds


@dataclass(frozen=True, slots=True)
class CrewMember:
    """One worker, with its jobs' records."""

    name: str
    host: str
    pid: int
    queues: list[str]
    state: str
    started_at: datetime | None
    last_seen_at: datetime | None
    finished: int
    failed: int
    memory: int | None  #: bytes, of it and what it runs
    running: list[JobRecord]
    more: int  #: jobs that it runs beside these


def crew(broker: Broker, workers: list[WorkerOverview]) -> list[CrewMember]:
    """All of them, their jobs read in one round trip."""
    shown = {worker.name: worker.jobs[:MOST_SHOWN] for worker in workers}
    ids = [job_id for jobs in shown.values() for job_id in jobs]
    records = dict(zip(ids, broker.reader.read(ids), strict=True)) if ids else {}
    return [
        CrewMember(
            name=worker.name,
            host=worker.host,
            pid=worker.pid,
            queues=worker.queues,
            state=worker.state,
            started_at=worker.started_at,
            last_seen_at=worker.last_seen_at,
            finished=worker.finished,
            failed=worker.failed,
            memory=_memory(worker),
            running=[record for each in shown[worker.name] if (record := records[each])],
            more=len(worker.jobs) - len(shown[worker.name]),
        )
        for worker in workers
    ]


def _memory(worker: WorkerOverview) -> int | None:
    """None of one that tells of none, such as a stock worker."""
    if worker.rss is None:
        return None
    return worker.rss + (worker.horses_rss or 0)


def busy(workers: list[WorkerOverview]) -> int:
    """How many of them run something."""
    return sum(bool(worker.jobs) for worker in workers)
