"""How a job speaks to its worker, in its horse; and whose voice it is that speaks now."""

import json
import os
import threading
import time
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from typing import Any
from weakref import WeakSet

from service.execution.reporting.frames import Kind, packed, room

LONGEST_MESSAGE = 300  # characters of what goes with a progress
LONGEST_LEVEL = 32  # characters of a level's name
PAUSE = 0.05  # seconds that a voice is silent after the pipe was full


class Mouth:
    """A horse's end of the pipe for reports.

    In a horse of one job a full pipe is waited for: the job is not faster than its worker reads.
    Where many jobs share a loop nobody waits; what does not fit is dropped, and said to be.
    """

    _pipe = -1  # none yet
    waits = True

    def open(self, pipe: int, *, waits: bool) -> None:
        """Speak into this pipe."""
        self._pipe, self.waits = pipe, waits
        os.set_blocking(pipe, waits)

    def say(self, frame: bytes) -> bool:
        """Send it, or else return False."""
        try:
            os.write(self._pipe, frame)
        except BlockingIOError:
            return False
        except OSError:
            return True  # the worker is gone, and with it whoever would listen
        return True


class Voice:
    """One job's. With no execution: of what belongs to no job.

    All threads of a job may use it.
    """

    def __init__(self, mouth: Mouth, execution_id: str) -> None:
        self.latest: tuple[float | None, str | None] = (None, None)
        self.is_over = False
        self._mouth, self._execution = mouth, execution_id.encode()
        self._dropped: int | None = None  # lines, since the last that was sent
        self._silent_until = 0.0  # monotonic; where something was dropped
        self._is_behind = False  # whether the latest progress could not be sent
        self._lock = threading.RLock()

    def write(self, kind: Kind, data: bytes, level: str = "") -> None:
        """Send output, or what was logged."""
        moment, source = time.time(), threading.get_native_id()
        name = level[:LONGEST_LEVEL].encode(errors="replace")
        most = room(self._execution, name)
        for start in range(0, len(data), most):
            piece = data[start : start + most]
            frame = packed(kind, self._execution, name, source, moment, piece)
            with self._in_turn():
                if not self._caught_up() or not self._mouth.say(frame):
                    if self._dropped is None:
                        self._dropped, self._silent_until = 0, time.monotonic() + PAUSE
                    self._dropped += piece.count(b"\n")

    def report(self, fraction: float | None, message: str | None) -> None:
        """As `jobs.progress` has it."""
        if message is not None:
            message = _readable(message)
        with self._in_turn():
            if (fraction, message) != self.latest and not self.is_over:
                self.latest = (fraction, message)
                self._is_behind = not (self._caught_up() and self._say_progress())

    def end(self) -> dict[str, Any]:
        """The job has ended; what could not be sent, for the worker to be told with its outcome."""
        with self._in_turn():
            self._caught_up(last=True)
            self.is_over = True
        left: dict[str, Any] = {}
        if self._dropped is not None:
            left["dropped"] = self._dropped
        if self._is_behind:
            left["progress"] = self.latest
        return left

    def _in_turn(self) -> AbstractContextManager[object]:
        """Where nothing is dropped, nothing is to be kept in step: a frame goes in one write."""
        return nullcontext() if self._mouth.waits else self._lock

    def _caught_up(self, *, last: bool = False) -> bool:
        """Whether all that came before has been sent, as far as it was to be."""
        if self._dropped is not None:
            if time.monotonic() < self._silent_until and not last:
                return False
            if not self._say(Kind.DROPPED, b"%d" % self._dropped):
                self._silent_until = time.monotonic() + PAUSE
                return False
            self._dropped = None
        if self._is_behind and self._say_progress():
            self._is_behind = False
        return True

    def _say_progress(self) -> bool:
        return self._say(Kind.PROGRESS, json.dumps(self.latest, ensure_ascii=False).encode())

    def _say(self, kind: Kind, content: bytes) -> bool:
        return self._mouth.say(packed(kind, self._execution, b"", 0, time.time(), content))


def _readable(message: str) -> str:
    """As UTF-8 can carry it, and not too long."""
    cut = message if len(message) <= LONGEST_MESSAGE else message[: LONGEST_MESSAGE - 1] + "…"
    return cut.encode(errors="backslashreplace").decode()


#: Of a job that shares its process: what it starts with its context speaks with its voice, too
own_voice: ContextVar[Voice | None] = ContextVar("voice", default=None)


class Stage:
    """Whose voice it is that speaks, in this process."""

    def __init__(self) -> None:
        self.mouth = Mouth()
        self._nobody = Voice(self.mouth, "")
        self._only: Voice | None = None  # of a process that runs one job at a time
        self._left: WeakSet[threading.Thread] = WeakSet()  # threads that have outlived their job

    def voice(self) -> Voice | None:
        """The voice of the job that this is asked in; None where it is none's."""
        voice = own_voice.get() or self._only
        if voice is None or voice.is_over:
            return None
        return None if self._left and threading.current_thread() in self._left else voice

    def voice_or_nobodys(self) -> Voice:
        """The same, or the one for what belongs to no job."""
        return self.voice() or self._nobody

    def new_voice(self, execution_id: str) -> Voice:
        """For a job that shares this process with others."""
        return Voice(self.mouth, execution_id)

    def give_to(self, execution_id: str) -> None:
        """This process runs this job, and no other."""
        self._only = Voice(self.mouth, execution_id)

    def clear(self) -> None:
        """It has ended. What its threads say from now on is nobody's."""
        if self._only is not None:
            self._only.end()
            self._only = None
            self._left.update(
                thread for thread in threading.enumerate() if thread is not threading.main_thread()
            )
