"""One job, from the fork of its horse to the record of how it ended."""

import contextlib
import os
import signal
from types import TracebackType

from redis.exceptions import RedisError
from rq import Queue
from rq import Worker as RQWorker
from rq.executions import Execution
from rq.job import Job
from rq.timeouts import JobTimeoutException
from rq.utils import now

from service.execution.claim import EXECUTION_TTL
from service.execution.fence import TaskJob
from service.execution.horse import NOT_RECORDED, Ending, Horse, die_with_parent
from service.execution.housekeeping import Housekeeper

HEARTBEAT = 3  # seconds between a worker's signs of life
OVERDUE = 10  # seconds past its timeout that a job gets to react, before it is killed

Raised = tuple[type[BaseException] | None, BaseException | None, TracebackType | None]


class JobRunner(RQWorker):
    """RQ's worker, as far as one job goes; `worker.Worker` is the loop around it."""

    _house: Housekeeper

    # In the worker

    def execute_job(self, job: Job, queue: Queue) -> None:
        """Fork a horse for the job, and see to it that however it ends is on record."""
        execution = next(iter(self.executions.values()))
        crashed = False
        try:
            self.fork_work_horse(job, queue)
            crashed = self.monitor_work_horse(job, queue, execution).was_crash
        finally:  # cold shutdown leaves through here as well; that is not the job's fault
            self._house.ended(queue, execution, crashed=crashed)
        self._settle()

    def _settle(self) -> None:
        try:
            self._house.settle()
        except RedisError as error:
            self.log.warning("Worker %s: will settle its last job later (%s)", self.name, error)
            self._house.was_cut_off()

    def fork_work_horse(self, job: Job, queue: Queue) -> None:
        parent = os.getpid()
        self._horse_pid = os.fork()
        if self._horse_pid == 0:
            try:
                os.setpgrp()
                die_with_parent(parent)
                os.environ |= {"RQ_WORKER_ID": self.name, "RQ_JOB_ID": job.id}
                self.main_work_horse(job, queue)
            finally:  # whatever happened: only the worker may go back into the worker's loop
                os._exit(os.EX_SOFTWARE)
        with contextlib.suppress(OSError):  # both sides set it: neither has to wait for the other
            os.setpgid(self._horse_pid, self._horse_pid)

    def monitor_work_horse(self, job: Job, queue: Queue, execution: Execution) -> Ending:
        """Keep the job's heartbeat up until its horse is gone; kill one that overstays."""
        horse = Horse(self._horse_pid)
        job.started_at = now()
        if self._stopped_job_id == job.id:  # it was told to stop before there was a horse to kill
            self.kill_horse()
        overdue = False
        while (ending := horse.wait(HEARTBEAT)) is None:
            if overdue := bool(job.timeout and 0 < job.timeout < horse.age - OVERDUE):
                ending = horse.kill()
                break
            self._keep_alive(job, execution)
        horse.close()
        self._horse_pid = 0
        self.executions.pop(execution.id, None)
        if not ending.was_orderly:
            self.log.warning("Worker %s: horse of %s: %s", self.name, job.id, ending)
            self._record_kill(job, queue, execution, overdue=overdue)
        self._stopped_job_id = None
        return ending

    def kill_horse(self, sig: signal.Signals = signal.SIGKILL) -> None:
        """RQ's asks for the horse's group; before the fork that is the worker's own."""
        if self.horse_pid:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.horse_pid, sig)

    def _keep_alive(self, job: Job, execution: Execution) -> None:
        self._ensure_scheduler()
        try:
            self.maintain_heartbeats(job, execution)
        except RedisError as error:
            self.log.warning("Worker %s: no heartbeat for %s: %s", self.name, job.id, error)
            self._house.was_cut_off()

    def _ensure_scheduler(self) -> None:
        raise NotImplementedError

    def _record_kill(self, job: Job, queue: Queue, execution: Execution, *, overdue: bool) -> None:
        """Record that the job was killed on purpose, where it did not still record its own end."""
        running = queue.started_job_registry.key
        try:
            is_open = self.connection.zscore(running, execution.composite_key) is not None
        except RedisError as error:
            self.log.warning("Worker %s: can't see how %s ended: %s", self.name, job.id, error)
            return
        if is_open and self._stopped_job_id == job.id:
            self._handle_stopped_job(job, queue, execution)
        elif is_open and overdue:
            self._fail_overdue(job, queue, execution)

    def _fail_overdue(self, job: Job, queue: Queue, execution: Execution) -> None:
        job.ended_at = now()
        reason = f"Task exceeded its timeout of {job.timeout} s, did not react, and was killed"
        if isinstance(job, TaskJob) and not job.is_retried_after(JobTimeoutException(reason)):
            job.retries_left = 0
        error = f"{JobTimeoutException.__module__}.{JobTimeoutException.__name__}: {reason}"
        self.handle_job_failure(job, queue=queue, exc_string=error, execution=execution)

    def get_heartbeat_ttl(self, job: Job, working_time: float = 0.0) -> int:
        return EXECUTION_TTL

    # In the horse

    def handle_execution_ended(self, job: Job, queue: Queue, heartbeat_ttl: int) -> None:
        """RQ fails the job where this sign of life can't be given."""
        with contextlib.suppress(RedisError):
            super().handle_execution_ended(job, queue, heartbeat_ttl)

    def _finalize_failure(
        self, job: Job, queue: Queue, execution: Execution, exc_info: Raised
    ) -> None:
        """RQ blames the job for a Redis that went away before it began or after it returned.

        A job whose reply "finished" was lost would be failed, or run again, over its result. Here
        the horse leaves without a word instead, and the worker looks up what Redis has.
        """
        in_task = isinstance(job, TaskJob) and job.is_in_task
        if isinstance(exc_info[1], RedisError) and not in_task:
            self.log.warning("Worker %s: lost Redis around %s: %s", self.name, job.id, exc_info[1])
            os._exit(NOT_RECORDED)
        super()._finalize_failure(job, queue, execution, exc_info)
