"""A horse as its worker sees it: fork it, hand it a job, wait, stop it."""

import contextlib
import os
import select
import signal
import time
from collections.abc import Callable
from typing import Any, NoReturn

from service.execution.assignment import read_outcome
from service.execution.channel import Channel
from service.execution.horse import CANCEL_SIGNAL
from service.execution.limits import die_with_parent, peak_bytes
from service.execution.outcome import Kind, Outcome, Usage

_FAREWELL = 1.0  # seconds between closing its channel and being gone
_POLL_INTERVAL = 0.05  # seconds, where the system has no pidfd


class Harness:
    """One forked horse. `fork` returns in the worker only."""

    def __init__(self, pid: int, channel: Channel) -> None:
        self.pid = pid
        self.jobs_given = 0
        self.was_interrupted = False
        self._channel = channel
        self._assigned_at = time.monotonic()
        # RQ waits with an alarm that interrupts `wait4`, and one that goes off just as the call
        # returns loses the status. A pidfd can be waited on with a time limit instead.
        self._pidfd = os.pidfd_open(pid) if hasattr(os, "pidfd_open") else None
        self._ended: tuple[int, Any] | None = None

    @classmethod
    def fork(cls, run: Callable[[Channel], NoReturn]) -> "Harness":
        """Fork a process that runs this function on its end of a channel, in a group of its own."""
        ours, theirs = Channel.pair()
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            try:
                os.setpgrp()
                die_with_parent(parent)
                ours.close()
                run(theirs)
            finally:
                os._exit(1)
        theirs.close()
        with contextlib.suppress(OSError):  # both sides set it: neither has to wait for the other
            os.setpgid(pid, pid)
        return cls(pid, ours)

    @property
    def age(self) -> float:
        """Seconds since it was given its job."""
        return time.monotonic() - self._assigned_at

    def assign(self, header: dict[str, Any], data: bytes) -> None:
        """Hand it a job. Raises `OSError` where it is gone."""
        self._assigned_at = time.monotonic()
        self.jobs_given += 1
        self._channel.send(header, data)

    def wait(self, seconds: float, wake: int) -> None:
        """Until it has something to say or is gone, `wake` is readable, or the time is over."""
        watched = [self._channel.fileno(), wake]
        if self._pidfd is not None:
            watched.append(self._pidfd)
        else:
            seconds = min(seconds, _POLL_INTERVAL)
        select.select(watched, [], [], max(seconds, 0))

    def outcome(self) -> Outcome | None:
        """How its job ended, once it has told or is gone."""
        while select.select([self._channel.fileno()], [], [], 0)[0]:
            arrived = self._channel.read_some()
            if message := self._channel.message():
                return read_outcome(*message)
            if not arrived:
                # It is going; or the job has closed what it did not open, and nothing more will
                # be heard of it.
                self._wait_a_moment()
                self.kill()
                break
        return self.ending() if self._reap(os.WNOHANG) else None

    def interrupt(self) -> None:
        """Raise `Canceled` in its job."""
        self.was_interrupted = True
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, CANCEL_SIGNAL)

    def kill(self) -> None:
        """Kill it and all processes of its group, and wait until it is gone."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self._reap(0)

    def dismiss(self) -> None:
        """Have it leave: its channel is closed."""
        self._channel.close()
        if self._pidfd is not None:
            os.close(self._pidfd)
            self._pidfd = None

    def is_gone(self) -> bool:
        """Whether it has left, so that nothing of it remains to be waited for."""
        return self._reap(os.WNOHANG)

    def usage(self) -> Usage:
        """What it used in all, known once it is gone."""
        if self._ended is None:
            return Usage(self.age, 0.0, 0)
        used = self._ended[1]
        return Usage(self.age, used.ru_utime + used.ru_stime, peak_bytes(used.ru_maxrss))

    def ending(self) -> Outcome:
        """The outcome of a job whose horse went without a word."""
        assert self._ended is not None, "asked of a horse that is gone"
        status = self._ended[0]
        if os.WIFSIGNALED(status):
            reason = f"killed by {signal.Signals(os.WTERMSIG(status)).name}"
        else:
            reason = f"exit status {os.waitstatus_to_exitcode(status)}"
        return Outcome(Kind.DIED, self.usage(), reason)

    def _wait_a_moment(self) -> None:
        until = time.monotonic() + _FAREWELL
        while not self._reap(os.WNOHANG) and time.monotonic() < until:
            time.sleep(0.001)

    def _reap(self, options: int) -> bool:
        if self._ended is None:
            pid, status, used = os.wait4(self.pid, options)
            if pid:
                self._ended = (status, used)
        return self._ended is not None
