"""Looking again at jobs that wait for others, so that none waits for ever.

Whatever ends a job here frees, or fails, those that depend on it in the same script. What is left
to do: the rest of very many dependents, and those of jobs that other programs ended or deleted
(a stock RQ worker leaves the dependents of a failed job as they are).
"""

from collections.abc import Sequence

from redis import Redis
from rq.queue import Queue
from rq.registry import DeferredJobRegistry
from rq.utils import now, utcformat

from service.waiting import WAITING

LOOKED_AT = 200  # waiting jobs, each time; the next time those that come after
MOST_ROUNDS = 40  # where jobs with very many dependents have ended, before other work

# KEYS: deferred registry of each queue
# ARGV: now (Unix), now (RQ's text), number of jobs to look at, cursor for each registry
# → whether there is more to do, and the next cursors
_LOOK = (
    WAITING
    + """
now, stamp = tonumber(ARGV[1]), ARGV[2]
local left = redis.call('SPOP', LEFT)
if left then
    look_at_dependents(left)
end
local answer = {left and redis.call('EXISTS', LEFT) or 0}
for i = 1, #KEYS do
    local cursor, entries = unpack(redis.call('ZSCAN', KEYS[i], ARGV[i + 3], 'COUNT', ARGV[3]))
    table.insert(answer, cursor)
    for j = 1, #entries, 2 do
        local found = look_at(entries[j])
        if found == 'failed' then
            look_at_dependents(entries[j])
        elseif found == 'elsewhere' then
            redis.call('ZREM', KEYS[i], entries[j])
        end
    end
end
return answer
"""
)


class Dependents:
    """Looks after the waiting jobs of some queues."""

    def __init__(self, connection: Redis, queues: Sequence[Queue]) -> None:
        self._script = connection.register_script(_LOOK)
        self._registries = [DeferredJobRegistry(queue=queue).key for queue in queues]
        self._cursors: list[bytes | int] = [0 for _ in queues]

    def look(self) -> None:
        """At some of them; at all in turn."""
        for _ in range(MOST_ROUNDS):
            more, *self._cursors = self._script(
                keys=self._registries, args=[*_time(), LOOKED_AT, *self._cursors]
            )
            if not more:
                return


def _time() -> list[float | str]:
    moment = now()
    return [moment.timestamp(), utcformat(moment)]
