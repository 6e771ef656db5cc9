"""What those who look at the page should know first, in plain words."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from service.broker.durability import Durability
from service.broker.overview import QueueOverview, WorkerOverview


@dataclass(frozen=True, slots=True)
class Notice:
    """`fault` is for what harms jobs now, `caution` for what may."""

    kind: Literal["fault", "caution"]
    text: str
    remedy: str = ""


def notices(
    queues: Sequence[QueueOverview], workers: Sequence[WorkerOverview], kept: Durability
) -> list[Notice]:
    """The worst first."""
    found = [*_of_workers(queues, workers), *_of_pauses(queues), *_of_redis(kept)]
    return sorted(found, key=lambda notice: notice.kind == "caution")


def _of_workers(
    queues: Sequence[QueueOverview], workers: Sequence[WorkerOverview]
) -> Iterable[Notice]:
    unserved = [queue for queue in queues if not queue.workers]
    waiting = sum(queue.queued for queue in unserved)
    if not workers:
        kept = f": {_jobs(waiting)} until one does" if waiting else ""
        yield Notice("fault", f"No worker runs{kept}.", "Start some with paddock work.")
        return
    for queue in unserved:
        if queue.queued:
            yield Notice(
                "fault",
                f"No worker listens on queue {queue.name}: {_jobs(queue.queued)} until one does.",
                f"Start one with paddock work --queues {queue.name}.",
            )
    idle = [queue.name for queue in unserved if not queue.queued]
    if idle:
        yield Notice(
            "caution",
            f"No worker listens on queue {', '.join(idle)}. Nothing waits there now.",
        )


def _of_pauses(queues: Sequence[QueueOverview]) -> Iterable[Notice]:
    for queue in queues:
        if queue.paused and queue.queued:
            told = f"Queue {queue.name} is paused: {_jobs(queue.queued)} until it is resumed."
            yield Notice("caution", told)


def _jobs(number: int) -> str:
    return "1 job waits" if number == 1 else f"{number:,} jobs wait"


def _of_redis(kept: Durability) -> Iterable[Notice]:
    for fault in kept.faults:
        yield Notice("fault", f"Redis may lose jobs: {fault}.")
    for remark in kept.remarks:
        yield Notice("caution", f"Redis: {remark}.")
