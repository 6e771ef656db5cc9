"""Accepting a batch: its jobs are written as they arrive, and queued in the end, all or none."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Self

import redis
import redis.asyncio
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError
from rq.utils import now

from service.admission import ROOM
from service.batch_marks import LONGEST_KEPT, RECORD
from service.batch_store import (
    STAGED,
    STAGING,
    StagingArea,
    new_batch_id,
    shared_part,
)
from service.broker.batch_jobs import JobTemplate
from service.broker.exchange import Unanswered
from service.broker.group import Assure, GroupCommit
from service.errors import QueueFull, RedisAway
from service.submission import Submission

CHUNK = 500  # jobs written by one script run, which takes Redis about 7 ms
LARGEST_CHUNK = 1024 * 1024  # bytes, after which fewer jobs do
BREATH = 0.002  # seconds after which the event loop gets to serve others
GIVEN_UP_AFTER = 120  # seconds without a sign of life from the process that takes the batch in
SIGN_OF_LIFE = 20.0  # seconds between such signs
TRIES = 3
PAUSE = 0.15  # seconds between tries

# KEYS: the batch's record, batches being staged, counts of what is staged
# ARGV: batch id, what all its jobs' keys begin with, seconds until it is given up, number of the
#       first of these jobs, number of fields that each has of its own, their names…, number of
#       common parts, common field, value…, then for each job the values of its own fields…
# → 1, or 0 where it has been given up
#
# Refused once the batch is committed: a copy that was held up somewhere must not write over jobs
# that run.
_STAGE = """
if redis.call('EXISTS', KEYS[1]) == 1 then
    return 0
end
local batch, first, width = ARGV[1], tonumber(ARGV[4]), tonumber(ARGV[5])
local give_up_at = redis.call('TIME')[1] + ARGV[3]
if first > 0 and not redis.call('ZSCORE', KEYS[2], batch) then
    return 0
end
local common = tonumber(ARGV[6 + width])
local fields, at = {}, 7 + width + common
for i = 1, common do
    fields[i] = ARGV[6 + width + i]
end
for i = 1, width do
    fields[common + 2 * i - 1] = ARGV[5 + i]
end
local number = first
while at <= #ARGV do
    for i = 1, width do
        fields[common + 2 * i] = ARGV[at]
        at = at + 1
    end
    redis.call('HSET', ARGV[2] .. string.format('%06x', number), unpack(fields))
    number = number + 1
end
redis.call('ZADD', KEYS[2], give_up_at, batch)
redis.call('HSET', KEYS[3], batch, number)
return 1
"""

# KEYS: the batch's record, batches being staged, counts of what is staged, queue, set of queues,
#       scheduled registry
# ARGV: batch id, what its jobs' ids begin with, number of jobs, 'RPUSH' | 'LPUSH' | 'ZADD', Unix
#       time for ZADD, seconds that the record is kept, most jobs that may wait (0: any), the
#       record…
# → 1, or 0 where it has been given up, or {'full', seconds until there is room}
#
# The one step that makes a batch: before it there is nothing that anybody could find. The record
# tells a commit that is sent again that it was done.
_COMMIT = (
    ROOM
    + """
if redis.call('EXISTS', KEYS[1]) == 1 then
    return 1
end
local total, push = tonumber(ARGV[3]), ARGV[4]
if not redis.call('ZSCORE', KEYS[2], ARGV[1])
        or tonumber(redis.call('HGET', KEYS[3], ARGV[1])) ~= total then
    return 0
end
local scheduled = push == 'ZADD'
local waiting = scheduled and redis.call('ZCARD', KEYS[6]) or redis.call('LLEN', KEYS[4])
local wait = wait_for_room(KEYS[4], waiting, total, tonumber(ARGV[7]))
if wait then
    return {'full', wait}
end
local last_digits, ids = {}, {}
for i = 0, 255 do
    last_digits[i] = string.format('%02x', i)
end
local function flush()
    if #ids > 0 then
        redis.call(push, push == 'ZADD' and KEYS[6] or KEYS[4], unpack(ids))
        ids = {}
    end
end
local from, to, step = 0, total - 1, 1
if push == 'LPUSH' then
    from, to, step = total - 1, 0, -1  -- so that the first of them comes to stand first
end
local page, head
for number = from, to, step do
    if math.floor(number / 256) ~= page then
        page = math.floor(number / 256)
        head = ARGV[2] .. string.format('%04x', page)
    end
    if push == 'ZADD' then
        ids[#ids + 1] = ARGV[5]
    end
    ids[#ids + 1] = head .. last_digits[number % 256]
    if #ids >= 5000 then flush() end
end
flush()
redis.call('SADD', KEYS[5], KEYS[4])
redis.call('HSET', KEYS[1], unpack(ARGV, 8))
redis.call('EXPIRE', KEYS[1], ARGV[6])
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('HDEL', KEYS[3], ARGV[1])
return 1
"""
)

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
        self._scripts = (client.register_script(_STAGE), GroupCommit(client, _COMMIT, assure))

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
        self._area, self._submission = area, submission
        self._stage, self._commit = scripts
        self._template = JobTemplate(submission, self.id, client)
        self._values: list[Any] = []  # of the jobs that are still to be sent
        self._bytes, self._sent = 0, 0
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

        Raises `RedisAway`; its document's `in_doubt` says whether it may have been done.
        """
        await self._send()
        await self._last_sent()
        submission, place = self._submission, self._template.place
        ahead = max(place.moment - int(now().timestamp()), 0)
        record = self._template.record(self.count, submission)
        keys = [RECORD + self.id, STAGING, STAGED, place.queue, place.queues, place.scheduled]
        args = [self.id, shared_part(self.id), self.count, place.push, place.moment]
        args += [LONGEST_KEPT + ahead, submission.queue_limit]
        args += [*(part for entry in record.items() for part in entry)]
        done = await self._committed(keys, args)
        if isinstance(done, list):
            raise QueueFull(record["queue"], submission.queue_limit, int(done[1]))
        self._refuse_given_up(done)

    async def _committed(self, keys: list[str], args: list[Any]) -> Any:
        """What the script answers, once that is as durable as was asked for."""
        try:
            return await self._commit.run(keys, args)
        except ResponseError as error:
            raise RedisAway(f"Redis refuses to write: {error}.", in_doubt=False) from error
        except Unanswered as error:
            raise _away(error.reason, self.id if error.in_doubt else None) from error

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
            raise RedisAway(f"Redis refuses to write: {error}.", in_doubt=False) from error
        except (RedisConnectionError, RedisTimeoutError) as error:
            if attempt == TRIES:
                raise _away(error, None) from error
            await asyncio.sleep(PAUSE)
    raise AssertionError("unreachable: the last try returns or raises")


def _away(error: Exception, committing: str | None) -> RedisAway:
    if committing is None:
        return RedisAway(f"Redis can't be reached ({error}); nothing was accepted.", in_doubt=False)
    return RedisAway(
        f"Redis was lost while it took the batch ({error}). All of it may have been accepted, or "
        f"nothing: look for /batches/{committing} before submitting again.",
        in_doubt=True,
        batch=committing,
    )
