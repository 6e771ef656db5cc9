"""Jobs that run together in one loop horse, each with all that it was promised.

A coroutine or a thread that does not stop when it is told to can only be stopped with its process.
So can one that blocks the loop. Then the horse is killed, and the jobs that ran beside the one at
fault are put back: they run again from their start, in a fresh horse, and no crash is counted for
them. They never run twice at once, since what remained of them is gone by then.
"""

import logging
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

from service.execution.decision import Ended
from service.execution.distrust import Distrust
from service.execution.forked import POLL_INTERVAL
from service.execution.loop_harness import LoopHarness, Run
from service.execution.orders import Orders
from service.execution.outcome import Kind, Outcome, Usage
from service.execution.taken import Taken
from service.execution.watch import CANCEL_GRACE, latest_age, overdue

LOOK_INTERVAL = 0.25  # seconds between looks for jobs that have to end
NOTABLE_LAG = 1.0  # seconds from which on a loop that is late is worth a line in the log
MUTE_GRACE = 2.0  # seconds beyond the limit for a horse that can't even tell that it is blocked
MOST_NAMED = 3  # jobs at fault that are named to the others

logger = logging.getLogger("rq.worker")


@dataclass(slots=True, eq=False)
class Flight:
    """A job that one of the horses has."""

    taken: Taken
    horse: LoopHarness
    began: float  #: monotonic
    latest: float  #: the age at which its horse is killed
    delays: float  #: seconds that the horse's loop had been late in all, before
    cancel_by: float | None = None  #: monotonic; then, too

    def usage(self) -> Usage:
        """What is known of it from outside."""
        return Usage(time.monotonic() - self.began, None, 0)

    def ended(self, outcome: Outcome) -> Ended:
        """What is to be recorded of it."""
        self.horse.end(self.taken.execution.id)
        return self.taken.ended(outcome)


class Together:
    """The loop horses of one worker: the one that gets the next jobs, and those that leave."""

    def __init__(
        self,
        run: Run,
        orders: Orders,
        timeout_grace: float,
        block_limit: float,
    ) -> None:
        self._run, self._orders = run, orders
        self._timeout_grace, self._block_limit = timeout_grace, block_limit
        self._flights: dict[str, Flight] = {}  # by their executions' ids
        self._horses: list[LoopHarness] = []
        self._leaving: list[LoopHarness] = []  # told to, and not yet waited for
        self._distrust = Distrust()
        self._looked_at = time.monotonic()
        self._noted: set[LoopHarness] = set()  # whose lag is in the log already

    def __len__(self) -> int:
        return len(self._flights)

    def trusts(self, taken: Taken) -> bool:
        """Whether this job may run beside others."""
        task = taken.task
        if task is None or not task.policy.runs_together or taken.may_be_poison:
            return False
        return self._distrust.spares(task)

    def begin(self, taken: Taken) -> None:
        """Hand it to a horse."""
        if not self._horses or self._horses[-1].is_spent:
            self._horses.append(LoopHarness.start(self._run))
        horse, latest = self._horses[-1], latest_age(taken.job, self._timeout_grace)
        self._flights[taken.execution.id] = Flight(
            taken, horse, time.monotonic(), latest, horse.delays
        )
        horse.begin(taken.job, taken.reported)

    def pids(self) -> list[int]:
        """The horses' processes."""
        return [horse.pid for horse in self._horses]

    def watched(self) -> list[int]:
        """What becomes readable when there is something to `hear`."""
        return [fd for horse in self._horses for fd in horse.watched()]

    def unsent(self) -> list[LoopHarness]:
        """The horses to `flush` to as soon as they can be written to."""
        return [horse for horse in self._horses if horse.has_unsent]

    def patience(self) -> float:
        """Seconds until a look is due, whatever is heard until then."""
        if not self._flights:
            return math.inf
        has_pidfd = len(self._horses[0].watched()) > 2
        return LOOK_INTERVAL if has_pidfd else POLL_INTERVAL

    def ended(self, *, look: bool = False) -> Iterator[Ended]:
        """The jobs that have ended; and, where a look is due, those that have to now."""
        for horse in list(self._horses):
            yield from self._heard(horse)
            if horse.is_lost():
                yield from self._lost(horse)
        since = time.monotonic() - self._looked_at
        if look or since >= LOOK_INTERVAL:
            self._looked_at = time.monotonic()
            yield from self._look(was_away=since > NOTABLE_LAG)
            self._leaving = [horse for horse in self._leaving if not horse.is_gone()]

    def close(self) -> None:
        """Have all horses leave."""
        for horse in self._horses:
            horse.dismiss()
        self._horses = []

    def _heard(self, horse: LoopHarness) -> Iterator[Ended]:
        for execution_id, outcome in horse.heard():
            if flight := self._flights.pop(execution_id, None):
                yield flight.ended(self._as_ordered(flight.taken, outcome))

    def _as_ordered(self, taken: Taken, outcome: Outcome) -> Outcome:
        """A job that was told to stop is canceled, whatever it raised or died of; unless it won."""
        if self._orders.is_canceled(taken.job.id) and outcome.kind is not Kind.RETURNED:
            return Outcome(Kind.CANCELED, outcome.usage, "canceled")
        return outcome

    def _lost(self, horse: LoopHarness) -> Iterator[Ended]:
        """It died, and nobody can tell of which job: the crash is counted for each that it had."""
        reason = horse.ending().reason
        yield from self._heard(horse)
        for flight in reversed(self._leave(horse)):  # as they are put back in front
            outcome = Outcome(Kind.DIED, flight.usage(), reason)
            yield flight.ended(self._as_ordered(flight.taken, outcome))

    def _look(self, *, was_away: bool) -> Iterator[Ended]:
        for horse in list(self._horses):
            if was_away:  # this process was stopped, and so maybe the horse
                horse.excuse()
            flights = [flight for flight in self._flights.values() if flight.horse is horse]
            if not flights and horse is not self._horses[-1]:
                self._leave(horse)
                self._leaving.append(horse)
                continue
            due = {flight: outcome for flight in flights if (outcome := self._due(flight))}
            self._note_lag(horse)
            if due or self._is_stuck(horse):
                yield from self._retire(horse, due)

    def _due(self, flight: Flight) -> Outcome | None:
        """How a job has to end now that goes on."""
        moment, orders = time.monotonic(), self._orders
        if orders.is_canceled(flight.taken.job.id):
            if flight.cancel_by is None:
                flight.horse.cancel(flight.taken.execution.id)
                flight.cancel_by = moment + CANCEL_GRACE
            elif moment >= flight.cancel_by:
                return Outcome(Kind.CANCELED, flight.usage(), "canceled, killed")
        if orders.leave_by is not None and moment >= orders.leave_by:
            return Outcome(Kind.PUT_BACK, flight.usage(), "its worker was told to stop")
        if moment - flight.began - self._held_up(flight) >= flight.latest:
            return overdue(flight.taken.job, flight.taken.task, flight.usage())
        return None

    def _held_up(self, flight: Flight) -> float:
        """Seconds that its loop was late, not for itself; it may not even have begun meanwhile."""
        lag = flight.horse.lag
        own = lag.late if lag.execution in ("", flight.taken.execution.id) else 0.0
        return flight.horse.delays - own - flight.delays

    def _is_stuck(self, horse: LoopHarness) -> bool:
        mute = horse.silence >= self._block_limit + MUTE_GRACE
        return mute or horse.lag.blocked >= self._block_limit

    def _note_lag(self, horse: LoopHarness) -> None:
        """In the log, once each time that its loop is late."""
        is_late = horse.lag.late >= NOTABLE_LAG
        if is_late and horse not in self._noted:
            logger.warning("The event loop waits for %s", self._who(horse))
        (self._noted.add if is_late else self._noted.discard)(horse)

    def _who(self, horse: LoopHarness) -> str:
        """Who keeps its loop from turning, and where."""
        flight, where = self._flights.get(horse.lag.execution), horse.lag.where
        if flight is None:
            return f"no job that could be named, at {where or 'a place that nobody can tell'}"
        return f"job {flight.taken.job.id} ({flight.taken.job.description}), blocked at {where}"

    def _retire(self, horse: LoopHarness, due: dict[Flight, Outcome]) -> Iterator[Ended]:
        """Kill it, and with it the jobs that have to end; put back the others."""
        others = self._fate_of_others(horse, due)
        horse.kill()
        yield from self._heard(horse)
        flights = self._leave(horse)
        if moved := len(flights) - len(due.keys() & set(flights)):
            logger.warning("A loop horse was killed, and %d jobs moved: %s", moved, others.reason)
        for flight in reversed(flights):  # who was first comes to the front of the queue last
            outcome = due.get(flight) or replace(others, usage=flight.usage())
            yield flight.ended(self._as_ordered(flight.taken, outcome))

    def _fate_of_others(self, horse: LoopHarness, due: dict[Flight, Outcome]) -> Outcome:
        usage, blocker = Usage(0.0, None, 0), None
        if horse.lag.late >= NOTABLE_LAG and (blocker := self._flights.get(horse.lag.execution)):
            self._distrust.blocked(blocker.taken.task)
        if not self._is_stuck(horse):
            self._note_killed(due)
            at_fault = ", ".join(flight.taken.job.id for flight in [*due][:MOST_NAMED])
            return Outcome(Kind.PUT_BACK, usage, f"its process had to be killed for {at_fault}")
        reason = f"its event loop waited for {self._who(horse)}"
        # Where it may be any of them, it must not come back for ever: then it counts as a crash.
        return Outcome(Kind.PUT_BACK if blocker else Kind.DIED, usage, reason)

    def _note_killed(self, due: dict[Flight, Outcome]) -> None:
        tasks = {f.taken.task for f, outcome in due.items() if outcome.kind is not Kind.PUT_BACK}
        for task in tasks:
            self._distrust.killed(task)

    def _leave(self, horse: LoopHarness) -> list[Flight]:
        """Part with it; the jobs that it still had."""
        self._horses.remove(horse)
        self._noted.discard(horse)
        horse.dismiss()
        left = [flight for flight in self._flights.values() if flight.horse is horse]
        for flight in left:
            del self._flights[flight.taken.execution.id]
        return left
