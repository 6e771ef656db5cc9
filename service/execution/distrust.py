"""Tasks whose jobs are kept out of the event loop for a while, since others suffer beside them."""

import logging
import time

from jobs import Task

DISTRUST = 300.0  # seconds that a task is kept out of the loop
MOST_KILLS = 2  # within as many seconds: for one, a job may just have been canceled at a bad moment

logger = logging.getLogger("rq.worker")


class Distrust:
    """Of one worker. A job that names no task is nobody's."""

    def __init__(self) -> None:
        self._until: dict[str, float] = {}  # task → monotonic time
        self._kills: dict[str, list[float]] = {}  # task → when its jobs took their horse along

    def spares(self, task: Task[..., object]) -> bool:
        """Whether its jobs may run beside others."""
        return self._until.get(task.name, 0.0) <= time.monotonic()

    def blocked(self, task: Task[..., object] | None) -> None:
        """A job of it has blocked the loop."""
        if task is not None:
            self._keep_out(task, "has blocked the event loop")

    def killed(self, task: Task[..., object] | None) -> None:
        """A job of it did not stop when it was told to, and its horse had to be killed for it."""
        if task is None:
            return
        moment = time.monotonic()
        recent = [at for at in self._kills.get(task.name, []) if at > moment - DISTRUST]
        self._kills[task.name] = [*recent, moment]
        if len(recent) + 1 >= MOST_KILLS:
            self._keep_out(task, "does not stop when it is told to")

    def _keep_out(self, task: Task[..., object], why: str) -> None:
        self._until[task.name] = time.monotonic() + DISTRUST
        self._kills.pop(task.name, None)
        logger.error(
            "%s %s: for %d s its jobs get processes of their own", task.name, why, DISTRUST
        )
