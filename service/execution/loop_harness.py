"""A loop horse as its worker sees it: hand it jobs, hear how they ended, and how its loop does."""

import contextlib
import gc
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NoReturn

from rq.job import Job

from service.execution.assignment import header_of, read_outcome
from service.execution.channel import Channel, Message
from service.execution.forked import Forked
from service.execution.outcome import Outcome

MOST_JOBS = 10_000  # that one horse is given, until the next ones get a fresh one


@dataclass(frozen=True, slots=True)
class Lag:
    """What the horse's watchdog has last told of its loop. Times in seconds."""

    late: float = 0.0  #: how long the loop has given no sign
    blocked: float = 0.0  #: how long one task, or none, has been the current one meanwhile
    execution: str = ""  #: whose that task is; empty where nobody can tell
    where: str = ""  #: file and line


class LoopHarness(Forked):
    """One horse that runs many jobs at once. Nothing here waits for it."""

    def __init__(self, pid: int, channel: Channel) -> None:
        super().__init__(pid, channel)
        self.jobs_given = 0
        self.lag = Lag()
        self._heard_at = time.monotonic()
        self._aloft = 0  # jobs that it has and that have not ended
        self._is_deaf = False  # its channel is closed at its end
        self._beats: Channel | None = None

    @classmethod
    def start(cls, run: Callable[[Channel, Channel], NoReturn]) -> "LoopHarness":
        """Fork one that runs this function on its ends of two channels: jobs, and signs of life."""
        gc.freeze()  # as in the stable: collecting what they share would have it copied
        ours, theirs = Channel.pair()

        def run_in_child(channel: Channel) -> NoReturn:
            ours.close()
            run(channel, theirs)

        horse = cls.fork(run_in_child)
        theirs.close()
        horse._beats = ours
        return horse

    @property
    def is_spent(self) -> bool:
        """Whether it has had its share of jobs."""
        return self.jobs_given >= MOST_JOBS

    @property
    def silence(self) -> float:
        """Seconds since its watchdog was last heard, which tells of itself while jobs run."""
        return time.monotonic() - self._heard_at if self._aloft else 0.0

    @property
    def has_unsent(self) -> bool:
        """Whether to `flush` once `fileno` can be written to."""
        return self._channel.has_unsent

    def fileno(self) -> int:
        return self._channel.fileno()

    def watched(self) -> list[int]:
        beats = [self._beats.fileno()] if self._beats is not None else []
        return [*super().watched(), *beats]

    def begin(self, job: Job, execution_id: str) -> None:
        """Hand it a job. If it is gone, that is found out with the others'."""
        if not self._aloft:
            self.excuse()
        self.jobs_given += 1
        self._aloft += 1
        with contextlib.suppress(OSError):
            self._channel.post({**header_of(job, execution_id), "do": "run"}, job.data)

    def cancel(self, execution_id: str) -> None:
        """Have a job stop, with the chance to clean up."""
        with contextlib.suppress(OSError):
            self._channel.post({"do": "cancel", "execution": execution_id})

    def flush(self) -> None:
        """Send it more of what it had no room for."""
        with contextlib.suppress(OSError):
            self._channel.flush()

    def heard(self) -> Iterator[tuple[str, Outcome]]:
        """The jobs that have ended, by their executions' ids."""
        if self._beats is not None:
            for header, _ in self._arrived(self._beats):
                self.lag = Lag(**header)
                self.excuse()
        for header, body in self._arrived(self._channel):
            self._aloft -= 1
            yield header["execution"], read_outcome(header, body)

    def excuse(self) -> None:
        """Count its silence from now on."""
        self._heard_at = time.monotonic()

    def is_lost(self) -> bool:
        """Whether it is gone. What it has told by then is still to be heard."""
        if self._is_deaf:
            self._see_off()
        return self.is_gone()

    def dismiss(self) -> None:
        """Have it leave, which it does at once."""
        with contextlib.suppress(OSError):
            self._channel.post({"do": "leave"})
        super().dismiss()
        if self._beats is not None:
            self._beats.close()
            self._beats = None

    def _arrived(self, channel: Channel) -> Iterator[Message]:
        while channel.has_arrived():
            if not channel.read_some():
                self._is_deaf = True
                return
            while message := channel.message():
                yield message
