"""A horse as its worker sees it: fork it, hand it a job, wait, stop it."""

import contextlib
import os
import select
import time
from collections.abc import Callable
from typing import Any, NoReturn

from service.execution.assignment import read_outcome
from service.execution.channel import Channel
from service.execution.forked import POLL_INTERVAL, Forked
from service.execution.horse import CANCEL_SIGNAL
from service.execution.outcome import Outcome
from service.execution.reporting.listener import Listener
from service.execution.reporting.pipes import REPORTS, STDERR, STDOUT, Pipes
from service.execution.reporting.reported import Reported

Run = Callable[[Channel, dict[str, int]], NoReturn]  # what a horse does all its life


class Harness(Forked):
    """One horse that runs a job at a time."""

    def __init__(self, pid: int, channel: Channel) -> None:
        super().__init__(pid, channel)
        self.jobs_given = 0
        self.was_interrupted = False
        self.stays = True  #: whether it takes another job
        self.listener: Listener
        self.reported: Reported  # of the job that it has

    @classmethod
    def start(cls, run: Run) -> "Harness":
        """Fork one that runs this function."""
        pipes = Pipes(REPORTS, STDOUT, STDERR)
        horse = cls.fork(lambda channel: run(channel, pipes.to_write()))
        horse.listener = Listener(pipes.to_read())
        return horse

    def assign(self, header: dict[str, Any], data: bytes, reported: Reported) -> None:
        """Hand it a job. Raises `OSError` where it is gone."""
        self._began = time.monotonic()
        self.jobs_given += 1
        self.listener.begin(reported, alone=True)
        self.reported = reported
        self._channel.send(header, data)

    def watched(self) -> list[int]:
        return [*super().watched(), *self.listener.watched()]

    def wait(self, seconds: float, wake: int) -> None:
        """Until it has something to say or is gone, `wake` is readable, or the time is over."""
        if self._pidfd is None:
            seconds = min(seconds, POLL_INTERVAL)
        readable, _, _ = select.select([*self.watched(), wake], [], [], max(seconds, 0))
        self.listener.hear(readable)

    def outcome(self) -> Outcome | None:
        """How its job ended, once it has told or is gone."""
        while self._channel.has_arrived():
            arrived = self._channel.read_some()
            if message := self._channel.message():
                self.stays = message[0]["stays"]
                return read_outcome(*message)
            if not arrived:
                # It is going; or the job has closed what it did not open.
                self._see_off()
                break
        return self.ending() if self._reap(os.WNOHANG) else None

    def interrupt(self) -> None:
        """Raise `Canceled` in its job."""
        self.was_interrupted = True
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, CANCEL_SIGNAL)

    def is_over(self) -> bool:
        """Whether nothing is left that could be heard of it; what is until then is no job's."""
        self.listener.hear()
        return self.is_gone() and self.listener.is_deaf()
