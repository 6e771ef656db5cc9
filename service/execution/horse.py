"""The process that runs one job, seen from both sides of the fork."""

import contextlib
import ctypes
import os
import select
import signal
import sys
import time
from dataclasses import dataclass

NOT_RECORDED = os.EX_TEMPFAIL  # exit status of a horse that could not tell Redis how it went
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_POLL_INTERVAL = 0.05  # seconds, where the system has no pidfd


def die_with_parent(parent: int, number: signal.Signals = signal.SIGKILL) -> None:
    """Called in the child: get this signal when the parent dies, however it dies.

    Else the horse of a killed worker would go on, beside the execution that replaces it. Where
    the system can't do this (macOS), that may happen.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:  # it died before the line above
        os._exit(1)


@dataclass(frozen=True, slots=True)
class Ending:
    """How a horse ended, as `wait4` tells it."""

    wait_status: int

    @property
    def was_orderly(self) -> bool:
        return self.wait_status == os.EX_OK

    @property
    def was_crash(self) -> bool:
        """Whether the job may be to blame, if it has left no record of its end.

        An orderly exit counts too: a job that calls `os._exit` would else come back for ever.
        """
        return os.waitstatus_to_exitcode(self.wait_status) != NOT_RECORDED

    def __str__(self) -> str:
        if os.WIFSIGNALED(self.wait_status):
            return f"killed by {signal.Signals(os.WTERMSIG(self.wait_status)).name}"
        return f"exit status {os.waitstatus_to_exitcode(self.wait_status)}"


class Horse:
    """A forked child, as its parent sees it.

    RQ waits with an alarm that interrupts `wait4`, and one that goes off just as the call returns
    loses the status. A pidfd can be waited on with a time limit instead.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.started = time.monotonic()
        self._pidfd = os.pidfd_open(pid) if hasattr(os, "pidfd_open") else None

    @property
    def age(self) -> float:
        """Seconds since it was forked."""
        return time.monotonic() - self.started

    def wait(self, seconds: float) -> Ending | None:
        """How it ended, or None where it still runs after this many seconds."""
        if self._pidfd is not None:
            select.select([self._pidfd], [], [], seconds)
            return self._reap()
        until = time.monotonic() + seconds
        while (ending := self._reap()) is None and time.monotonic() < until:
            time.sleep(_POLL_INTERVAL)
        return ending

    def kill(self) -> Ending:
        """Kill its whole process group, and wait until it is gone."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        ending = None
        while ending is None:
            ending = self.wait(1)
        return ending

    def close(self) -> None:
        """Give its descriptor back."""
        if self._pidfd is not None:
            os.close(self._pidfd)
            self._pidfd = None

    def _reap(self) -> Ending | None:
        pid, wait_status, _usage = os.wait4(self.pid, os.WNOHANG)
        return Ending(wait_status) if pid else None
