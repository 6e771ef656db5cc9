"""Accepting a batch: its jobs are written as they arrive, and queued in the end, all or none."""

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import redis
import redis.asyncio
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError
from rq.utils import now

from service.batch_marks import LONGEST_KEPT, RECORD
from service.batch_store import (
    STAGED,
    STAGING,
    StagingArea,
    new_batch_id,
    shared_part,
)
from service.broker.acceptance import away, not_taken, refused
from service.broker.batch_jobs import JobTemplate
from service.broker.batch_scripts import COMMIT, STAGE
from service.broker.exchange import Unanswered
from service.broker.group import Assure, GroupCommit
from service.errors import RedisAway
from service.submission import Submission, digest
from service.tracing.spans import active_tracer, submitting

if TYPE_CHECKING:
    from opentelemetry.trace import Span

CHUNK = 500  # jobs written by one script run, which takes Redis about 7 ms
LARGEST_CHUNK = 1024 * 1024  # bytes, after which fewer jobs do
BREATH = 0.002  # seconds after which the event loop gets to serve others
GIVEN_UP_AFTER = 120  # seconds without a sign of life from the process that takes the batch in
SIGN_OF_LIFE = 20.0  # seconds between such signs
TRIES = 3
PAUSE = 0.15  # seconds between tries

logger = logging.getLogger("paddock.batches")


class BatchEnqueuer:
    """Takes batches in, without blocking the event loop."""

    def __init__(
        self,
        client: "redis.asyncio.Redis",
        blocking: "redis.Redis",
        assure: Assure | None = None,
    ) -> None:
        """`assure` is `GroupCommit`'s."""
        self._client, self._area = client, StagingArea(blocking)
        self._scripts = (client.register_script(STAGE), GroupCommit(client, COMMIT, assure))

    def begin(self, submission: Submission) -> "Staging":
        """A batch of this task's calls, with these options; `submission`'s parameters don't count.

        Leaving its `async with` block without a commit removes all that was written of it.
        """
        return Staging(self._client, self._area, self._scripts, submission)


class Staging:
    """A batch that is being taken in. Nothing of it can be seen until it is committed."""

    def __init__(
        self,
        client: "redis.asyncio.Redis",
        area: StagingArea,
        scripts: tuple[Any, GroupCommit],
        submission: Submission,
    ) -> None:
        self.id, self.count = new_batch_id(), 0
        self._traced = ExitStack()
        self._span: Span | None = None
        if tracer := active_tracer():
            traced = submitting(tracer, submission, **{"paddock.batch": self.id})
            self._span, submission = self._traced.enter_context(traced)
        self._area, self._submission = area, submission
        self._stage, self._commit = scripts
        self._template = JobTemplate(submission, self.id, client)
        self._values: list[Any] = []  # of the jobs that are still to be sent
        self._bytes, self._sent = 0, 0
        # Of what is asked for, where the caller's key has to tell it from anything else
        self._print = hashlib.sha256() if submission.once else None
        self._under_way: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()
        self._alive_at = self._breathed_at = self._loop.time()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._span is not None:
            self._span.set_attribute("messaging.batch.message_count", self.count)
        try:
            await self._close(error)
        finally:
            self._traced.__exit__(kind, error, traceback)

    async def _close(self, error: BaseException | None) -> None:
        if self._under_way:
            self._under_way.cancel()
            await asyncio.gather(self._under_way, return_exceptions=True)
        if error is not None:
            try:
                await asyncio.to_thread(self._area.discard, self.id)
            except RedisError as left:
                logger.warning("%s is left for a worker to clear away: %s", self.id, left)

    async def add(self, parameters: dict[str, Any]) -> None:
        """One job more, with parameters that have passed validation. Raises `RedisAway`."""
        values = self._template.values(parameters)
        if self._print:
            self._print.update(digest(parameters).encode())
        self._values += values
        self._bytes += sum(map(len, values))
        self.count += 1
        if self._loop.time() - self._breathed_at > BREATH:
            await asyncio.sleep(0)
            self._breathed_at = self._loop.time()
        if self.count - self._sent >= CHUNK or self._bytes >= LARGEST_CHUNK:
            await self._send()

    async def keep(self) -> None:
        """Be sure that a batch which arrives slowly is not given up. Raises `RedisAway`."""
        if self._loop.time() - self._alive_at > SIGN_OF_LIFE:
            await self._send()

    async def commit(self) -> None:
        """Queue all of its jobs, in one step.

        Raises `AlreadySubmitted`, `IdempotencyKeyReused` or `QueueFull`; or `RedisAway`, whose
        document's `in_doubt` says whether it may have been done.
        """
        await self._send()
        await self._last_sent()
        submission, place = self._submission, self._template.place
        ahead = max(place.moment - int(now().timestamp()), 0)
        record = self._template.record(self.count, submission)
        keys = [RECORD + self.id, STAGING, STAGED, place.queue, place.queues, place.scheduled]
        args = [self.id, shared_part(self.id), self.count, place.push, place.moment]
        args += [LONGEST_KEPT + ahead, submission.queue_limit, *self._once()]
        args += [*(part for entry in record.items() for part in entry)]
        done = await self._committed(keys, args)
        if isinstance(done, list):
            raise not_taken(done, "batch", record["queue"], submission.queue_limit)
        self._refuse_given_up(done)

    def _once(self) -> list[Any]:
        """The caller's key, if any, and the fingerprint of all that was asked for with it."""
        once = self._submission.once
        if once is None or self._print is None:
            return ["", "", 0]
        return [once.record, digest(once.fingerprint, self._print.hexdigest()), once.ttl]

    async def _committed(self, keys: list[str], args: list[Any]) -> Any:
        """What the script answers, once that is as durable as was asked for."""
        try:
            return await self._commit.run(keys, args)
        except ResponseError as error:
            raise refused(error) from error
        except Unanswered as error:
            raise away(error, "batch", self.id) from error

    async def _send(self) -> None:
        """Have Redis write these while the next ones are read."""
        await self._last_sent()
        template = self._template
        keys = [RECORD + self.id, STAGING, STAGED]
        args = [self.id, template.key_prefix, GIVEN_UP_AFTER, self._sent, len(template.own)]
        args += [*template.own, len(template.common), *template.common, *self._values]
        self._values, self._bytes, self._sent = [], 0, self.count
        self._alive_at = self._loop.time()
        self._under_way = asyncio.create_task(self._write(keys, args))

    async def _write(self, keys: list[str], args: list[Any]) -> None:
        done = await _insist(lambda: self._stage(keys=keys, args=args))
        self._refuse_given_up(done)

    async def _last_sent(self) -> None:
        if self._under_way:
            await self._under_way

    def _refuse_given_up(self, done: int) -> None:
        if not done:
            raise RedisAway(
                "The batch was given up while it was taken in, because nothing was heard of it "
                f"for {GIVEN_UP_AFTER} seconds; nothing was accepted.",
                in_doubt=False,
            )


async def _insist(call: Callable[[], Awaitable[Any]]) -> Any:
    """Send what may be sent again until it is answered. Raises `RedisAway`."""
    for attempt in range(1, TRIES + 1):
        try:
            return await call()
        except ResponseError as error:
            raise refused(error) from error
        except (RedisConnectionError, RedisTimeoutError) as error:
            if attempt == TRIES:
                raise RedisAway(
                    f"Redis can't be reached ({error}); nothing was accepted.", in_doubt=False
                ) from error
            await asyncio.sleep(PAUSE)
    raise AssertionError("unreachable: the last try returns or raises")
