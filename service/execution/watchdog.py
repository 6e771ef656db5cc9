"""Finding out a job that blocks the event loop it shares with others, and at which line.

A thread of the loop horse asks the loop for a sign again and again, and tells the worker how long
it has been waiting for one. One turn of a loop runs each of its tasks once at most: so a task that
is the current one at every look since the last sign is the one that blocks.
"""

import asyncio
import contextlib
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

from service.execution.channel import Channel

BEAT = 0.5  # seconds between signs of life while jobs run
LOOK_INTERVAL = 0.1  # seconds between looks at a loop that does not answer
LEAST_LAG = 0.3  # seconds from which on it is told as late


class Watchdog(threading.Thread):
    """Watches the loop of the thread that makes it, while `busy` is set.

    `owner` tells whose a task of the loop is: the execution, and the file of its function.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        worker: Channel,
        owner: Callable[["asyncio.Task[Any]"], tuple[str, str] | None],
    ) -> None:
        super().__init__(name="watchdog", daemon=True)
        self.busy = threading.Event()
        self._loop, self._worker, self._owner = loop, worker, owner
        self._thread = threading.get_ident()

    def run(self) -> None:
        with contextlib.suppress(OSError):  # the worker is gone, and this process goes with it
            while True:
                self.busy.wait()
                self._watch_one_turn()
                self._worker.send({"late": 0.0})
                time.sleep(BEAT)

    def _watch_one_turn(self) -> None:
        asked, answered = time.monotonic(), threading.Event()
        self._loop.call_soon_threadsafe(answered.set)
        suspect, since = asyncio.current_task(self._loop), asked
        while not answered.wait(LOOK_INTERVAL):
            moment, current = time.monotonic(), asyncio.current_task(self._loop)
            if current is not suspect:
                suspect, since = current, moment
            if moment - asked >= LEAST_LAG:
                self._worker.send(self._report(suspect, moment - asked, moment - since))

    def _report(
        self, suspect: "asyncio.Task[Any] | None", late: float, blocked: float
    ) -> dict[str, Any]:
        execution, file = (suspect and self._owner(suspect)) or ("", "")
        return {
            "late": late,
            "blocked": blocked,
            "execution": execution,
            "where": _line(sys._current_frames().get(self._thread), file),
        }


def _line(frame: FrameType | None, file: str) -> str:
    """The line of this file at which a thread is, and the innermost one where that is another."""
    innermost = f"{frame.f_code.co_filename}:{frame.f_lineno}" if frame else "unknown"
    while frame is not None:
        if frame.f_code.co_filename == file:
            own = f"{file}:{frame.f_lineno}"
            return own if own == innermost else f"{own} ({innermost})"
        frame = frame.f_back
    return innermost
