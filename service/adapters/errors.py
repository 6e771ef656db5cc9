"""What a program's own calls of tasks can come to, where no HTTP caller is told of it."""

from concurrent.futures import BrokenExecutor

from service.errors import PaddockError


class NotInCatalogue(PaddockError):
    """What was to be run as a job is no task of the catalogue. The message says what to add."""


class JobFailed(PaddockError):
    """The job whose result was asked for has failed, with what can't be raised in this process."""

    def __init__(self, job_id: str, kind: str, message: str, traceback: str) -> None:
        super().__init__(f"{kind}: {message}" if message else kind)
        self.job_id, self.type, self.message, self.traceback = job_id, kind, message, traceback


class JobCanceled(PaddockError):
    """The job whose result was asked for was canceled: it has none."""

    def __init__(self, job_id: str) -> None:
        super().__init__(f"The job {job_id} was canceled.")
        self.job_id = job_id


class JobNotEnded(PaddockError, TimeoutError):
    """The job has not ended in the time that its result was waited for. It goes on."""

    def __init__(self, job_id: str, seconds: float | None) -> None:
        super().__init__(f"The job {job_id} has not ended within {seconds} s; it goes on.")
        self.job_id = job_id


class FutureDetached(PaddockError, BrokenExecutor):
    """A future that is told no more of its job, which goes on. The message says how to go on."""

    def __init__(self, job_id: str, why: str) -> None:
        super().__init__(
            f"The job {job_id} goes on, but this future is told no more of it: {why}. "
            f"executor.future({job_id!r}) finds it again."
        )
        self.job_id = job_id
