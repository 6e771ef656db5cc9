"""What a worker may be told while a job runs, from a signal handler or another thread."""

import os
import time
from dataclasses import dataclass, field


def _wake_pipe() -> tuple[int, int]:
    ends = os.pipe()
    for end in ends:
        os.set_blocking(end, False)
    return ends


@dataclass(slots=True)
class Orders:
    """Set from anywhere; the loop that watches the job is woken and looks."""

    leave_by: float | None = None  #: monotonic time at which this worker has to be gone
    _canceled: set[str] = field(default_factory=set)
    _pipe: tuple[int, int] = field(default_factory=_wake_pipe)

    @property
    def wake(self) -> int:
        """Readable when there is something to look at."""
        return self._pipe[0]

    def leave(self, grace: float) -> None:
        """Be gone in so many seconds."""
        self.leave_by = time.monotonic() + grace
        self.ring()

    def cancel(self, job_id: str) -> None:
        """Stop this job, if it is the one that runs."""
        self._canceled.add(job_id)
        self.ring()

    def is_canceled(self, job_id: str) -> bool:
        """Whether this job is to stop."""
        return job_id in self._canceled

    def forget(self, job_id: str) -> None:
        """The job has ended."""
        self._canceled.discard(job_id)

    def ring(self) -> None:
        """Wake the loop."""
        try:
            os.write(self._pipe[1], b"\0")
        except BlockingIOError:
            return  # full: it will wake

    def heard(self) -> bool:
        """The loop is awake; whether there was something to look at."""
        rang = False
        try:
            while os.read(self._pipe[0], 4096):
                rang = True
        except BlockingIOError:
            pass
        return rang
