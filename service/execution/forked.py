"""A process that a worker has forked, in a group of its own: start it, kill it, tell its end."""

import contextlib
import os
import signal
import time
from collections.abc import Callable
from typing import Any, NoReturn, Self

from service.execution.channel import Channel
from service.execution.limits import die_with_parent, peak_bytes
from service.execution.outcome import Kind, Outcome, Usage

_FAREWELL = 1.0  # seconds between closing its channel and being gone
POLL_INTERVAL = 0.05  # seconds, where the system has no pidfd


class Forked:
    """One process. `fork` returns in the worker only."""

    def __init__(self, pid: int, channel: Channel) -> None:
        self.pid = pid
        self._channel = channel
        self._began = time.monotonic()
        # RQ waits with an alarm that interrupts `wait4`, and one that goes off just as the call
        # returns loses the status. A pidfd can be waited on with a time limit instead.
        self._pidfd = os.pidfd_open(pid) if hasattr(os, "pidfd_open") else None
        self._ended: tuple[int, Any] | None = None

    @classmethod
    def fork(cls, run: Callable[[Channel], NoReturn]) -> Self:
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
        """Seconds since it began, or was given its job."""
        return time.monotonic() - self._began

    def watched(self) -> list[int]:
        """What becomes readable when it has something to say or is gone."""
        watched = [self._channel.fileno()]
        if self._pidfd is not None:
            watched.append(self._pidfd)
        return watched

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

    def _see_off(self) -> None:
        """It has closed its channel: it is going, or will never be heard of again."""
        until = time.monotonic() + _FAREWELL
        while not self._reap(os.WNOHANG) and time.monotonic() < until:
            time.sleep(0.001)
        self.kill()

    def _reap(self, options: int) -> bool:
        if self._ended is None:
            pid, status, used = os.wait4(self.pid, options)
            if pid:
                self._ended = (status, used)
        return self._ended is not None
