"""Batches as Redis keeps them: their jobs' ids, and what is half done.

It stands between the broker, through which callers make batches, and the execution side, which
tells them how their jobs ended and clears away what was never completed. Neither may import the
other.

A batch's jobs have ids that count up from its own, so that no list of them is kept anywhere: all
but the last six hexadecimal digits are the batch's.
"""

import os
import time

import redis
from rq.job import Job

from service.batch_marks import SHARED
from service.submission import job_id_at

STAGING = "paddock:batches:staging"  # sorted set: batches being taken in, by when to give them up
STAGED = "paddock:batches:staged"  # hash: such a batch → how many of its jobs are written
DISCARDED = "paddock:batches:discarded"  # hash: batch → how many of its jobs are left to remove

_REMOVED_AT_ONCE = 1_000  # jobs removed by one script run, during which Redis serves nobody else

# KEYS: batches being staged, counts of what is staged, discarded batches
# ARGV: batch id, or '' for all that nobody has added to for long
#
# From here on nothing can be added to them, nor can they be committed.
_GIVE_UP = """
local given_up = {ARGV[1]}
if ARGV[1] == '' then
    given_up = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', redis.call('TIME')[1])
end
for _, batch in ipairs(given_up) do
    if redis.call('ZREM', KEYS[1], batch) == 1 then
        redis.call('HSET', KEYS[3], batch, redis.call('HGET', KEYS[2], batch) or 0)
        redis.call('HDEL', KEYS[2], batch)
    end
end
return redis.call('HKEYS', KEYS[3])
"""

# KEYS: discarded batches
# ARGV: batch id, what all keys of its jobs begin with, most to remove
# → how many are left
_REMOVE = """
local left = tonumber(redis.call('HGET', KEYS[1], ARGV[1]) or 0)
local from = math.max(left - ARGV[3], 0)
for number = from, left - 1 do
    redis.call('UNLINK', ARGV[2] .. string.format('%06x', number))
end
if from > 0 then
    redis.call('HSET', KEYS[1], ARGV[1], from)
else
    redis.call('HDEL', KEYS[1], ARGV[1])
end
return from
"""


def new_batch_id() -> str:
    """An id for a batch that is made now; it sorts after those of its jobs."""
    return job_id_at(time.time_ns() // 1_000_000, os.urandom(7) + b"\xff\xff\xff")


def job_id_in(batch_id: str, index: int) -> str:
    """The id of the batch's job with this number, counted from 0."""
    return f"{batch_id[:SHARED]}{index:06x}"


def shared_part(batch_id: str) -> str:
    """What the ids of all the batch's jobs begin with, and no others'."""
    return batch_id[:SHARED]


class StagingArea:
    """Removes what was written of batches that will never be complete.

    Jobs of a batch are written first and queued in the end, all at once. Until then they are on
    no queue and in no registry. The batch is listed as one in the making, with the time at which
    it is to be given up; what its maker does not remove, because it died, is removed by a worker.
    """

    def __init__(self, client: "redis.Redis") -> None:
        self._give_up = client.register_script(_GIVE_UP)
        self._remove = client.register_script(_REMOVE)

    def discard(self, batch_id: str) -> None:
        """Give it up, unless it has been committed, and remove what was written of it."""
        self._clear(batch_id)

    def clear_abandoned(self) -> None:
        """Do so for all that nobody has added to for long, and for what others left half done."""
        self._clear("")

    def _clear(self, batch_id: str) -> None:
        discarded = self._give_up(keys=[STAGING, STAGED, DISCARDED], args=[batch_id])
        for each in discarded:
            name = each.decode()
            if batch_id in ("", name):
                self._remove_jobs(name)

    def _remove_jobs(self, batch_id: str) -> None:
        prefix = Job.key_for(shared_part(batch_id))
        while self._remove(keys=[DISCARDED], args=[batch_id, prefix, _REMOVED_AT_ONCE]):
            pass
