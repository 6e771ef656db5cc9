"""A horse as its worker sees it: fork it, hand it a job, wait, stop it."""

import contextlib
import os
import select
import time
from typing import Any

from service.execution.assignment import read_outcome
from service.execution.channel import Channel
from service.execution.forked import POLL_INTERVAL, Forked
from service.execution.horse import CANCEL_SIGNAL
from service.execution.outcome import Outcome


class Harness(Forked):
    """One horse that runs a job at a time."""

    def __init__(self, pid: int, channel: Channel) -> None:
        super().__init__(pid, channel)
        self.jobs_given = 0
        self.was_interrupted = False

    def assign(self, header: dict[str, Any], data: bytes) -> None:
        """Hand it a job. Raises `OSError` where it is gone."""
        self._began = time.monotonic()
        self.jobs_given += 1
        self._channel.send(header, data)

    def wait(self, seconds: float, wake: int) -> None:
        """Until it has something to say or is gone, `wake` is readable, or the time is over."""
        if self._pidfd is None:
            seconds = min(seconds, POLL_INTERVAL)
        select.select([*self.watched(), wake], [], [], max(seconds, 0))

    def outcome(self) -> Outcome | None:
        """How its job ended, once it has told or is gone."""
        while self._channel.has_arrived():
            arrived = self._channel.read_some()
            if message := self._channel.message():
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
