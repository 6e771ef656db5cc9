"""The worker of jobs that mostly wait: it runs hundreds of them at once, in one process.

    python worker.py --io                                        what `paddock work` starts
    rq worker -w service.execution.io_worker.IOWorker -S json io the same under RQ's own command

It takes as many jobs as it has room for (`claims`), has most of them run in the event loop of one
forked horse (`together`) and the others in processes of their own (`apart`), and records how they
ended. It waits for nothing but for all of that at once, so it can answer for each job at any time.
"""

import math
import select
import time
from collections.abc import Sequence
from typing import Any, NoReturn

from redis.exceptions import RedisError
from rq.command import parse_payload
from rq.defaults import DEFAULT_LOGGING_DATE_FORMAT, DEFAULT_LOGGING_FORMAT
from rq.registry import StartedJobRegistry
from rq.worker import DequeueStrategy, WorkerStatus

from service.execution.apart import Apart
from service.execution.channel import Channel
from service.execution.claim import EXECUTION_TTL
from service.execution.claims import Claims
from service.execution.decision import Ended
from service.execution.doorbell import POLL_INTERVAL
from service.execution.horse import run_horse
from service.execution.loop_horse import run_loop_horse
from service.execution.registered import LEASE
from service.execution.scripts import run_together
from service.execution.serving import (
    FIRST_RECONNECT_WAIT,
    LONGEST_RECONNECT_WAIT,
    SUSPENDED_LOOK,
    ServingWorker,
)
from service.execution.settlement import sendable
from service.execution.taken import Taken
from service.execution.together import Together
from service.execution.traces import begin_span, end_span

MOST_REPORTS = 20  # jobs whose reports go into one round trip; each may have a mebibyte
RENEW_INTERVAL = 60.0  # seconds between renewals of what RQ keeps of each running job


class IOWorker(ServingWorker):
    """Takes jobs of its queues, the first queue's first, up to PADDOCK_ASYNC_CONCURRENCY at once.

    Each runs as its task's isolation says, so whatever is put on one of its queues is served.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        settings = self._settings
        self.room = settings.async_concurrency
        self._together = Together(
            self._run_loop_horse, self.orders, settings.timeout_grace, settings.async_block_limit
        )
        self._apart = Apart(self._run_horse, self.orders, settings.timeout_grace)
        self._claims = Claims(self.connection, self.name, LEASE)
        self._held: dict[str, Taken] = {}  # by their executions' ids, until their end is recorded
        self._endings: list[Ended] = []  # what is still to be recorded
        self._completed = 0
        self._is_leaving = False
        # Monotonic times: of the next claim (never, until the bell rings), of the next word with
        # Redis while it is away, of the next renewal
        self._claims_from = self._speaks_from = self._renews_from = 0.0
        self._bell_is_armed = False
        self._reconnect_wait = FIRST_RECONNECT_WAIT

    def work(
        self,
        burst: bool = False,
        logging_level: str | None = None,
        date_format: str = DEFAULT_LOGGING_DATE_FORMAT,
        log_format: str = DEFAULT_LOGGING_FORMAT,
        max_jobs: int | None = None,
        max_idle_time: int | None = None,
        with_scheduler: bool = True,
        dequeue_strategy: DequeueStrategy = DequeueStrategy.DEFAULT,
    ) -> bool:
        """Run jobs until told to stop; in burst mode until the queues are empty."""
        self._install_signal_handlers()
        self.bootstrap(logging_level, date_format, log_format)
        try:
            self.start_scheduler(self._catalogue, burst=burst)
            self._serve(burst, max_jobs, max_idle_time)
        finally:
            self._leave()
        return self._completed > 0

    def _serve(self, burst: bool, max_jobs: int | None, max_idle_time: int | None) -> None:
        busy_at = time.monotonic()
        while True:
            self._collect()
            if self._held:
                busy_at = time.monotonic()
            idle = max_idle_time is not None and time.monotonic() - busy_at > max_idle_time
            self._is_leaving = (
                self._is_leaving
                or self._stop_requested
                or idle
                or self._is_spent(self._completed, max_jobs)
            )
            self._speak()
            found_none = burst and self._claims_from > time.monotonic()
            if not self._held and (self._is_leaving or found_none):
                return
            if self._gives_up():
                self.log.warning("Worker %s: leaves, and Redis is away", self.name)
                return
            self._wait()

    def handle_payload(self, message: Any) -> None:
        """RQ's command to stop a job, which expects a worker to have one, is for any of many."""
        payload = parse_payload(message)
        if payload["command"] != "stop-job":
            super().handle_payload(message)
        elif any(held.job.id == payload["job_id"] for held in list(self._held.values())):
            self.orders.cancel(payload["job_id"])

    # With its horses

    def _collect(self) -> None:
        """The jobs that have ended meanwhile, or have to now."""
        told = self.orders.heard()
        for ended in (*self._together.ended(look=told), *self._apart.ended()):
            self._endings.append(ended)
            self._completed += 1
            self._tell_end(ended)
            end_span(ended)

    def _wait(self) -> None:
        """Until there is something to do."""
        bell = self._bell.fileno() if self._bell_is_armed else None
        watched = [self.orders.wake, *self._together.watched(), *self._apart.watched()]
        if bell is not None:
            watched.append(bell)
        unsent = self._together.unsent()
        readable, writable, _ = select.select(watched, unsent, [], self._patience())
        for horse in writable:
            horse.flush()
        if bell in readable:
            self._claims_from, self._bell_is_armed = 0.0, False
            try:
                self._bell.heard()
            except RedisError as error:
                self._redis_is_away(error)

    def _patience(self) -> float:
        """Seconds until something is due."""
        word = 0.0 if self._endings else self._upkeep_due
        word = min([word, *(reported.due for reported in self._reports.pending)])
        if self._room():
            word = min(word, self._claims_from)
        until_due = max(word, self._speaks_from) - time.monotonic()
        return max(0.0, min(until_due, self._together.patience(), self._apart.patience()))

    def _running(self) -> int:
        return len(self._together) + len(self._apart)

    def _room(self) -> int:
        """How many jobs it may take."""
        return 0 if self._is_leaving else self._settings.async_concurrency - self._running()

    def _horses(self) -> Sequence[int]:
        return [*self._together.pids(), *self._apart.pids()]

    def _run_horse(self, channel: Channel, pipes: dict[str, int]) -> NoReturn:
        """In the child."""
        self._is_horse = True
        run_horse(channel, pipes, self._catalogue, self.connection, self.name)

    def _run_loop_horse(self, channel: Channel, beats: Channel, pipes: dict[str, int]) -> NoReturn:
        """In the child."""
        self._is_horse = True
        most = self._settings.async_concurrency
        run_loop_horse(channel, beats, pipes, self._catalogue, self.connection, self.name, most)

    # With Redis

    def _speak(self) -> None:
        """Say what there is to say, unless Redis is away for the moment."""
        if time.monotonic() < self._speaks_from:
            return
        try:
            refused = self._record_and_claim()
            if self._keep_up():
                self._keep_alive()
            self._show(self._present_state())
            self._listen()
            if refused is not None:
                raise refused
            self._reconnect_wait = FIRST_RECONNECT_WAIT
        except RedisError as error:
            self._redis_is_away(error)

    def _record_and_claim(self) -> RedisError | None:
        """Both at once, as far as there is something to record and room for more jobs.

        Returns what Redis refused, if anything: it is tried again, and keeps nothing else waiting.
        """
        moment = time.monotonic()
        due = [reported for reported in self._reports.pending if reported.due <= moment]
        del due[MOST_REPORTS:]  # the others are due at once again
        calls = self._recorder.calls(sendable(self._endings), due)
        recording = len(calls)
        if self._room() > 0 and time.monotonic() >= self._claims_from:
            calls += self._claims.calls(self.queues, self._room())
        if not calls:
            return None
        answers = run_together(self.connection, calls)
        for ended in self._recorder.answered(answers[:recording]):
            self._forget(ended)
        if taken := answers[recording:]:
            self._begin(taken)
        others = (answer for answer in taken if isinstance(answer, RedisError))
        return self._recorder.refused or next(others, None)

    def _forget(self, ended: Ended) -> None:
        """Its end is on record."""
        self._endings.remove(ended)
        self.orders.forget(ended.job.id)
        self._held.pop(ended.execution.id, None)
        self.executions.pop(ended.execution.id, None)

    def _begin(self, answers: list[Any]) -> None:
        """Have the jobs run that were taken."""
        for claim in self._claims.answered(self.queues, answers):
            taken = Taken.of(claim, self.connection, self._catalogue, self.name, self._reports)
            begin_span(taken.job, claim.fields, self.name)
            self._held[claim.execution_id] = taken
            self.executions[claim.execution_id] = taken.execution
            self._state = WorkerStatus.BUSY  # which the claim has written
            (self._together if self._together.trusts(taken) else self._apart).begin(taken)
        if self._claims.is_suspended:
            self._claims_from = time.monotonic() + SUSPENDED_LOOK
        elif self._claims.found_less:
            self._claims_from = math.inf

    def _listen(self) -> None:
        """Where there is room, and nothing on the queues: be told when something comes."""
        if self._room() <= 0 or self._claims_from < math.inf or self._bell_is_armed:
            return
        if self._bell.arm():
            self._claims_from = 0.0
        elif self._bell.fileno() is None:
            self._claims_from = time.monotonic() + POLL_INTERVAL
        else:
            self._bell_is_armed = True

    def _keep_alive(self) -> None:
        """Look whether a job is to stop that the worker was not told of, and renew RQ's records."""
        held = list(self._held.values())
        with self.connection.pipeline(transaction=False) as pipe:
            for taken in held:
                pipe.hget(taken.job.key, "cancel_requested")
            if time.monotonic() >= self._renews_from:
                self._renews_from = time.monotonic() + RENEW_INTERVAL
                for taken in held:
                    registry = StartedJobRegistry(queue=taken.queue)
                    taken.execution.heartbeat(registry, EXECUTION_TTL, pipeline=pipe)
            for taken, mark in zip(held, pipe.execute(raise_on_error=False), strict=False):
                if mark == b"1":
                    self.orders.cancel(taken.job.id)

    def _present_state(self) -> WorkerStatus:
        if self._held:
            return WorkerStatus.BUSY
        return WorkerStatus.SUSPENDED if self._claims.is_suspended else WorkerStatus.IDLE

    def _redis_is_away(self, error: RedisError) -> None:
        """Its jobs go on; what becomes of them is recorded when it is back."""
        self.log.warning("Worker %s: Redis is away (%s)", self.name, error)
        self._house.was_cut_off()
        self._claims_from, self._bell_is_armed = 0.0, False
        self._speaks_from = time.monotonic() + self._reconnect_wait
        self._reconnect_wait = min(self._reconnect_wait * 2, LONGEST_RECONNECT_WAIT)

    def _gives_up(self) -> bool:
        """Whether it leaves with ends unrecorded: others will find those jobs abandoned."""
        leave_by, moment = self.orders.leave_by, time.monotonic()
        time_is_over = leave_by is not None and moment >= leave_by
        return time_is_over and not self._running() and moment < self._speaks_from

    def _leave(self) -> None:
        self._together.close()
        self._apart.close()
        super()._leave()
