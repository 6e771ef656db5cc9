"""Taking a job off a queue, in one step that no crash can fall into the middle of.

RQ pops the id first and records the execution later; a worker that dies between the two loses
the job (with several queues for good: rq#2236, rq#758). Here one script takes the first job of
the first queue that has one and records who runs it, so that a job is at every instant either
on its queue or in RQ's registry of started jobs, from where `recovery` brings it back.
"""

import json
from base64 import b64decode
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import uuid4

from redis import Redis
from rq.executions import WORKER_EXECUTIONS_KEY_TEMPLATE
from rq.job import Job, JobStatus
from rq.queue import Queue
from rq.registry import StartedJobRegistry
from rq.suspension import WORKERS_SUSPENDED
from rq.utils import as_text, now, utcformat

from jobs.policy import DEFAULT_FAILURE_TTL
from service.execution.assignment import LARGEST_RESULT, KnownJob
from service.execution.claim_script import CLAIM
from service.execution.scripts import ScriptCall

# RQ gives a running job a lease, and lets anybody who counts the registry (`rq info` does) fail
# the jobs whose lease ran out. Here the worker's own heartbeat is what says that a job is alive;
# the lease is only long enough to keep that clean-up away.
EXECUTION_TTL = 7 * 24 * 3600  # seconds; renewed at each heartbeat

LARGEST_GIVEN = (LARGEST_RESULT + 2) // 3 * 4  # bytes in base64; no more than one job may return
MOST_EXPIRED = 100  # jobs canceled by one claim, during which Redis serves nobody else

# Which nobody here reads, and RQ takes long to parse.
_DATES = {b"created_at", b"enqueued_at", b"started_at", b"ended_at", b"last_heartbeat"}


class Suspended(Exception):
    """`rq suspend` has told all workers to take no more."""


class ClaimedJob(KnownJob):
    """RQ's, and what its hash holds of ours."""

    has_webhook = False
    waited: float | None = None  #: seconds on its queue until it was started; None where unknown


@dataclass(frozen=True, slots=True)
class Claim:
    """A job that this worker, and nobody else, is to run."""

    queue: Queue
    job_id: str
    execution_id: str
    fields: dict[bytes, bytes]  #: the job's hash, as it was at that moment
    given: list[bytes] | None  #: the results that it gets, JSON in base64; None where they are gone

    def job(self, connection: Redis) -> ClaimedJob:
        """As RQ knows it; one whose record can't be read is a job all the same, and will fail."""
        job = ClaimedJob(connection=connection, serializer="json")
        job.has_webhook = b"webhook" in self.fields
        job.waited = self._waited()
        job._id = self.job_id  # as it is: RQ's setter refuses ids that other programs may have used
        job.origin = self.queue.name
        job.know(self.fields)
        try:
            job.restore({name: self.fields[name] for name in self.fields.keys() - _DATES})
            self._give_results(job)
        except Exception as error:  # noqa: BLE001  # anybody may have written anything
            job.description = f"unreadable: {error}"
            job.data = b""
        return job

    def _waited(self) -> float | None:
        enqueued, started = (self.fields.get(name) for name in (b"enqueued_at", b"started_at"))
        try:
            return (_moment(started) - _moment(enqueued)).total_seconds()
        except (TypeError, ValueError):  # anybody may have written anything
            return None

    def _give_results(self, job: Job) -> None:
        """Add its dependencies' results to its parameters; its task validates all of them."""
        if self.given is None:
            raise LookupError("a result that it was to be given has expired or was deleted")
        results = [json.loads(b64decode(result)) for result in self.given]
        if b"result_as" in self.fields:
            job.kwargs = {**job.kwargs, as_text(self.fields[b"result_as"]): results[0]}
        elif b"results_as" in self.fields:
            job.kwargs = {**job.kwargs, as_text(self.fields[b"results_as"]): results}


def _moment(text: bytes | None) -> datetime:
    return datetime.fromisoformat(as_text(text or b""))


def function_path(job: Job) -> str | None:
    """The dotted path that the job names; None where its data can't be read."""
    try:
        return job.func_name
    except Exception:  # noqa: BLE001  # RQ wraps whatever a serializer raises; the horse will tell
        return None


class Claimer:
    """Takes jobs for one worker."""

    def __init__(self, connection: Redis, worker_name: str, lease: int) -> None:
        self._script = connection.register_script(CLAIM)
        self._worker_name, self._lease = worker_name, lease
        self._unanswered: str | None = None  # the execution id of a claim whose reply was lost
        self._sent = 0  # how often that one was sent
        self.left_some = False  #: whether the last claim took none, and the queues may hold some

    @property
    def is_unanswered(self) -> bool:
        """Whether a claim was sent whose reply was lost; it may have taken a job."""
        return self._unanswered is not None

    def claim(self, queues: Sequence[Queue]) -> Claim | None:
        """The first job of the first queue that has one, or None where all are empty.

        None as well where so many on them may not run that others are to be served first:
        `left_some` says so. Raises `Suspended`.
        """
        return self.answered(queues, self.call(queues).run())

    def call(self, queues: Sequence[Queue]) -> ScriptCall:
        """What to ask of Redis, to be sent with something else; `answered` reads the answer."""
        if self._unanswered is None:
            self._unanswered, self._sent = uuid4().hex, 0
        self._sent += 1
        moment = now()
        return ScriptCall(
            self._script,
            [key for queue in queues for key in (queue.key, StartedJobRegistry(queue=queue).key)],
            [
                self._unanswered,
                self._worker_name,
                moment.timestamp(),
                utcformat(moment),
                EXECUTION_TTL,
                WORKER_EXECUTIONS_KEY_TEMPLATE.format(self._worker_name),
                self._lease,
                WORKERS_SUSPENDED,
                self._sent - 1,
                LARGEST_GIVEN,
                DEFAULT_FAILURE_TTL,
                MOST_EXPIRED,
            ],
        )

    def answered(self, queues: Sequence[Queue], taken: Any) -> Claim | None:
        """The job that the script's answer tells of. Raises `Suspended`."""
        execution_id, self._unanswered = self._unanswered, None
        self.left_some = taken == b"more"
        if taken == b"suspended":
            raise Suspended
        if not taken or self.left_some or execution_id is None:
            return None
        number, job_id, flat, given = taken
        fields = dict(zip(flat[::2], flat[1::2], strict=True))
        return Claim(queues[number - 1], as_text(job_id), execution_id, fields, given)


# Kept beside the script, which spells these out: a change in RQ's names must fail loudly.
assert (JobStatus.STARTED, JobStatus.FINISHED, JobStatus.CANCELED) == (
    "started",
    "finished",
    "canceled",
)
