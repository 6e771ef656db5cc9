"""A loop horse as its worker sees it: hand it jobs, hear how they ended, and how its loop does."""

import contextlib
import gc
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

from rq.job import Job

from service.execution.assignment import header_of, read_outcome
from service.execution.channel import Channel, Message
from service.execution.forked import Forked
from service.execution.outcome import Outcome
from service.execution.reporting.listener import Listener
from service.execution.reporting.pipes import REPORTS, Pipes
from service.execution.reporting.reported import Reported

Run = Callable[[Channel, Channel, dict[str, int]], NoReturn]  # what a horse does all its life

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
        self._delays = 0.0  # seconds that its loop was late in all, until it last was in time
        self._heard_at = time.monotonic()
        self._aloft = 0  # jobs that it has and that have not ended
        self._is_deaf = False  # its channel is closed at its end
        self._beats: Channel | None = None
        self._listener: Listener
        self._unsent: dict[str, dict[str, Any]] = {}  # what was to be reported of who has ended

    @classmethod
    def start(cls, run: Run) -> "LoopHarness":
        """Fork one that runs this function on its ends of two channels: jobs, and signs of life.

        And of a pipe for what the jobs report.
        """
        gc.freeze()  # as in the stable: collecting what they share would have it copied
        ours, theirs = Channel.pair()
        pipes = Pipes(REPORTS, large=True)

        def run_in_child(channel: Channel) -> NoReturn:
            ours.close()
            run(channel, theirs, pipes.to_write())

        horse = cls.fork(run_in_child)
        theirs.close()
        horse._beats = ours
        horse._listener = Listener(pipes.to_read())
        return horse

    @property
    def is_spent(self) -> bool:
        """Whether it is to be given no more jobs: it has had its share, or they are not heard."""
        return self.jobs_given >= MOST_JOBS or self._listener.is_spoilt

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
        return [*super().watched(), *beats, *self._listener.watched()]

    def begin(self, job: Job, reported: Reported) -> None:
        """Hand it a job, and keep there what that reports.

        If the horse is gone, that is found out with the others'.
        """
        if not self._aloft:
            self.excuse()
        self.jobs_given += 1
        self._aloft += 1
        self._listener.begin(reported, alone=False)
        with contextlib.suppress(OSError):
            header = header_of(job, reported.execution_id)
            self._channel.post({**header, "do": "run"}, job.data)

    def end(self, execution_id: str) -> None:
        """A job has ended: what it has reported until now is known, and no more will be."""
        self._listener.end(execution_id, self._unsent.pop(execution_id, None))

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
                self._note(Lag(**header))
                self.excuse()
        self._listener.hear()
        for header, body in self._arrived(self._channel):
            self._aloft -= 1
            if header["unsent"]:
                self._unsent[header["execution"]] = header["unsent"]
            yield header["execution"], read_outcome(header, body)

    @property
    def delays(self) -> float:
        """Seconds that its loop has been late in all."""
        return self._delays + self.lag.late

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
        self._listener.hear_all()
        self._listener.close()
        if self._beats is not None:
            self._beats.close()
            self._beats = None

    def _note(self, lag: Lag) -> None:
        if lag.late < self.lag.late:
            self._delays += self.lag.late
        self.lag = lag

    def _arrived(self, channel: Channel) -> Iterator[Message]:
        while channel.has_arrived():
            if not channel.read_some():
                self._is_deaf = True
                return
            while message := channel.message():
                yield message
