"""Jobs that an io worker runs in processes of their own, beside those that run together.

They are jobs of tasks with another isolation, which somebody has put on an io queue, and such as
can't be trusted with an event loop that others share. A few run at a time; the others wait here.
"""

import math
import time
from collections import deque
from collections.abc import Iterator

from service.execution.decision import Ended
from service.execution.forked import POLL_INTERVAL
from service.execution.harness import Run
from service.execution.orders import Orders
from service.execution.outcome import Kind, Outcome, Usage
from service.execution.stable import Stable
from service.execution.taken import Taken
from service.execution.watch import Watch

MOST_AT_ONCE = 4  # processes beside the loop


class Apart:
    """Runs them, the first that came first."""

    def __init__(self, run: Run, orders: Orders, timeout_grace: float) -> None:
        self._stable, self._orders, self._timeout_grace = Stable(run), orders, timeout_grace
        self._waiting: deque[Taken] = deque()
        self._running: dict[Taken, Watch] = {}

    def __len__(self) -> int:
        return len(self._waiting) + len(self._running)

    def begin(self, taken: Taken) -> None:
        """Run it as soon as there is a place."""
        self._waiting.append(taken)
        self._fill()

    def pids(self) -> list[int]:
        """The processes of those that run."""
        return [watch.horse.pid for watch in self._running.values()]

    def watched(self) -> list[int]:
        """What becomes readable when there is something to hear."""
        return [fd for watch in self._running.values() for fd in watch.horse.watched()]

    def patience(self) -> float:
        """Seconds until a look is due, whatever is heard until then."""
        if not self._running:
            return math.inf
        watches = list(self._running.values())
        due = min(watch.next_look() for watch in watches) - time.monotonic()
        return due if len(watches[0].horse.watched()) > 1 else min(due, POLL_INTERVAL)

    def ended(self) -> Iterator[Ended]:
        """The jobs that have ended, or have to now."""
        for taken, watch in reversed(list(self._running.items())):  # as they are put back in front
            watch.horse.listener.hear()
            if outcome := watch.look():
                self._stable.take_back(watch.horse, shared=False)
                del self._running[taken]
                yield taken.ended(outcome)
        for taken in reversed(list(self._waiting)):
            if reason := self._no_beginning(taken):
                self._waiting.remove(taken)
                yield taken.ended(reason)
        self._fill()
        self._stable.see_off()

    def close(self) -> None:
        """Have all horses leave."""
        self._stable.close()

    def _no_beginning(self, taken: Taken) -> Outcome | None:
        """How a job ends that has not begun, and is not to."""
        nothing = Usage(0.0, 0.0, 0)
        if self._orders.is_canceled(taken.job.id):
            return Outcome(Kind.CANCELED, nothing, "canceled")
        if self._orders.leave_by is not None:
            return Outcome(Kind.PUT_BACK, nothing, "its worker was told to stop")
        return None

    def _fill(self) -> None:
        while self._waiting and len(self._running) < MOST_AT_ONCE:
            taken = self._waiting.popleft()
            horse = self._stable.give(taken.job, taken.reported, shared=False)
            self._running[taken] = Watch(
                taken.job, taken.task, horse, self._orders, self._timeout_grace
            )
