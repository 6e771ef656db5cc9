"""What a worker hears of a horse: what its jobs report, and who reports it."""

import array
import contextlib
import fcntl
import json
import logging
import os
import select
import termios
import time
from collections.abc import Collection
from typing import Any

from service.execution.reporting.frames import Frame, Frames, Garbled, Kind
from service.execution.reporting.pipes import REPORTS
from service.execution.reporting.reported import Reported

READ_SIZE = 1 << 16  # bytes at a time, so that a job that prints without end keeps nobody waiting

logger = logging.getLogger("rq.worker")

_STREAMS = {Kind.STDOUT: "stdout", Kind.STDERR: "stderr", Kind.LOG: "log"}
_RAW = -1  # the source of what comes by a process's own output, beside that of its threads


class Listener:
    """Reads the pipes of one horse. Nothing here waits for it."""

    def __init__(self, pipes: dict[str, int]) -> None:
        self._names = {pipe: name for name, pipe in pipes.items()}  # those that are still open
        self._frames = Frames()
        self._reported: dict[str, Reported] = {}  # by execution
        self._alone: Reported | None = None  # of the only job that the horse runs
        self.is_spoilt = False  #: whether nothing that its jobs report is heard any more

    def watched(self) -> list[int]:
        """What becomes readable when there is something to `hear`."""
        return list(self._names)

    def is_deaf(self) -> bool:
        """Whether nobody has the other ends any more."""
        return not self._names

    def begin(self, reported: Reported, *, alone: bool) -> None:
        """An execution has been handed to the horse, which runs no other where it is alone."""
        if alone:
            self.hear_all()  # what came since the last one is nobody's
            self._alone = reported
        self._reported[reported.execution_id] = reported

    def end(self, execution_id: str, unsent: dict[str, Any] | None = None) -> None:
        """It has ended; what was under way until now is still its own."""
        self.hear_all()
        if reported := self._reported.pop(execution_id, None):
            if unsent and "dropped" in unsent:
                reported.drop(time.time(), unsent["dropped"])
            if unsent and "progress" in unsent:
                reported.progress(time.time(), *unsent["progress"])
            reported.end()
        self._alone = None

    def hear(self, readable: Collection[int] | None = None) -> None:
        """Take in some of what has arrived; from these pipes, where it is known already."""
        if readable is None:
            readable = select.select(self.watched(), [], [], 0)[0]
        for pipe in self.watched():
            if pipe in readable:
                self._read(pipe, READ_SIZE)

    def hear_all(self) -> None:
        """Take in what has arrived until now."""
        for pipe in self.watched():
            arrived = array.array("i", [0])
            fcntl.ioctl(pipe, termios.FIONREAD, arrived)
            left = arrived[0]
            while left > 0 and pipe in self._names:
                left -= self._read(pipe, min(left, READ_SIZE))

    def close(self) -> None:
        """Listen no more."""
        for pipe in self.watched():
            self._close(pipe)

    def _read(self, pipe: int, most: int) -> int:
        try:
            data = os.read(pipe, most)
        except BlockingIOError:
            return most  # somebody else's doing: there is nothing left
        if not data:
            self._close(pipe)
        elif self._names[pipe] == REPORTS:
            try:
                for frame in self._frames.feed(data):
                    self._take(frame)
            except (Garbled, ValueError, TypeError):
                logger.warning("Something has written into the pipe of a horse's reports: closed")
                self.is_spoilt = True
                self._close(pipe)  # there is no telling where the next one would begin
        elif self._alone is not None:
            self._alone.write((self._names[pipe], None, _RAW), time.time(), data)
        else:
            _tell_aside(data)
        return len(data)

    def _take(self, frame: Frame) -> None:
        reported = self._reported.get(frame.execution)
        if reported is None:
            if frame.kind in _STREAMS:
                _tell_aside(frame.content)
        elif frame.kind is Kind.PROGRESS:
            fraction, message = json.loads(frame.content)
            reported.progress(frame.at, fraction, message)
        elif frame.kind is Kind.DROPPED:
            reported.drop(frame.at, int(frame.content))
        else:
            source = (_STREAMS[frame.kind], frame.level, frame.source * (frame.kind is Kind.LOG))
            reported.write(source, frame.at, frame.content)

    def _close(self, pipe: int) -> None:
        del self._names[pipe]
        os.close(pipe)


def _tell_aside(data: bytes) -> None:
    """What belongs to no job goes to this worker's own output."""
    with contextlib.suppress(OSError):
        os.write(2, data)
