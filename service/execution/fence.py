"""Jobs and queues as Paddock's worker knows them: RQ's, within the bounds of the catalogue."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Self

from redis.client import Pipeline
from rq import Queue
from rq.exceptions import DeserializationError
from rq.job import Job
from rq.utils import now

from jobs import PermanentFailure
from jobs.catalogue import Catalogue


class NotInCatalogue(PermanentFailure):
    """The job names a function that this worker may not run."""


class Unreadable(PermanentFailure, DeserializationError):
    """What Redis holds under the job's id is no job, or one that is not in JSON."""


class TaskJob(Job):
    """An RQ job that runs tasks of the catalogue, and nothing else.

    RQ imports any dotted path that a job carries, so JSON alone is no fence: whoever can write to
    Redis could have a worker call `os.system`.
    """

    catalogue: Catalogue
    is_in_task = False  #: from the call of the task until it has returned, not: raised

    unreadable: str | None = None  #: what is wrong with its record, where it can't be run

    @classmethod
    def taken(cls, job_id: str, fields: dict[bytes, bytes], queue: Queue) -> Self:
        """The job with these fields. One that can't be read is a job all the same: it will fail."""
        job = cls(connection=queue.connection, serializer="json")
        job._id = job_id  # as it is: RQ's setter refuses ids that other programs may have used
        try:
            job.restore(fields)
        except Exception as error:  # noqa: BLE001  # anybody may have written anything
            job.unreadable = f"{type(error).__name__}: {error}"
            job.data = fields.get(b"data", b"")
        job.origin = job.origin or queue.name
        return job

    def _deserialize_data(self) -> None:
        try:
            if self.unreadable:
                raise DeserializationError(self.unreadable)
            super()._deserialize_data()
        except DeserializationError as error:
            self.retries_left = 0
            raise Unreadable(f"This is not a job in JSON: {error.__cause__ or error}") from error

    def perform(self) -> Any:
        self.is_in_task = True
        outcome = super().perform()
        self.is_in_task = False
        return outcome

    def is_retried_after(self, error: BaseException) -> bool:
        """Whether the task's policy would retry it; for errors that the task itself never saw."""
        task = self.catalogue.at(self.func_name)
        return task is not None and task.policy.retries(error)

    @property
    def func(self) -> Callable[..., Any]:
        task = self.catalogue.at(self.func_name)
        if task is None:
            self.retries_left = 0
            raise NotInCatalogue(
                f"{self.func_name} is not a task of this worker's catalogue; "
                "PADDOCK_TASKS names the modules that are loaded"
            )
        return task.run

    # Callbacks are dotted paths as well, and Paddock sets none.
    success_callback = failure_callback = stopped_callback = None

    def retry(self, queue: Queue, pipeline: Pipeline) -> None:
        """As RQ's, but all of it inside the caller's transaction.

        RQ writes the status of a job that waits for its retry outside of it, where a crash
        strands the job: "scheduled", and on no list (rq 3.0.0, `Job.retry`).
        """
        wait = self.get_retry_interval()
        assert self.retries_left, "RQ retries only while there are retries left"
        self.retries_left -= 1
        if wait:
            queue.schedule_job(self, now() + timedelta(seconds=wait), pipeline=pipeline)
        else:
            queue._enqueue_job(self, pipeline=pipeline, at_front=self.enqueue_at_front_on_retry)


class TaskQueue(Queue):
    """RQ's queue, in JSON, that never runs a job before its time."""

    def schedule_job(
        self, job: Job, datetime: datetime, pipeline: Pipeline | None = None, unique: bool = False
    ) -> Job:
        """RQ cuts the time down to whole seconds, so it is rounded up first."""
        if datetime.microsecond:
            datetime = datetime.replace(microsecond=0) + timedelta(seconds=1)
        return super().schedule_job(job, datetime, pipeline=pipeline, unique=unique)


def fenced(catalogue: Catalogue) -> type[TaskJob]:
    """The job class of a worker with this catalogue."""
    return type("TaskJob", (TaskJob,), {"catalogue": catalogue})
