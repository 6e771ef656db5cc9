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

from service.waiting import LEFT, MOST_AT_ONCE, WAITING

LOOKED_AT = 200  # waiting jobs, each time; the next time those that come after
MOST_ROUNDS = 40  # of `MOST_AT_ONCE` dependents of the same few jobs, before other work

# KEYS: deferred registry
# ARGV: now (Unix), now (RQ's text), cursor, number of jobs to look at
# → the next cursor
_LOOK = (
    WAITING
    + """
now, stamp = tonumber(ARGV[1]), ARGV[2]
local cursor, entries = unpack(redis.call('ZSCAN', KEYS[1], ARGV[3], 'COUNT', ARGV[4]))
for i = 1, #entries, 2 do
    local found = look_at(entries[i])
    if found == 'failed' then
        look_at_dependents(entries[i])
    elseif found == 'elsewhere' then
        redis.call('ZREM', KEYS[1], entries[i])
    end
end
return cursor
"""
)

# ARGV: now (Unix), now (RQ's text)
# → how many jobs are left whose dependents are to be looked at
_GO_ON = (
    WAITING
    + """
now, stamp = tonumber(ARGV[1]), ARGV[2]
local id = redis.call('SPOP', LEFT)
if id then
    look_at_dependents(id)
end
return redis.call('SCARD', LEFT)
"""
)


class Dependents:
    """Looks after the waiting jobs of some queues."""

    def __init__(self, connection: Redis, queues: Sequence[Queue]) -> None:
        self._connection = connection
        self._look = connection.register_script(_LOOK)
        self._go_on = connection.register_script(_GO_ON)
        self._cursors = {DeferredJobRegistry(queue=queue).key: b"0" for queue in queues}

    def look(self) -> None:
        """At some of them; at all in turn."""
        rounds = 0
        while rounds < MOST_ROUNDS and self._go_on(args=_time()):
            rounds += 1
        for registry, cursor in self._cursors.items():
            self._cursors[registry] = self._look(
                keys=[registry], args=[*_time(), cursor, LOOKED_AT]
            )


def _time() -> list[float | str]:
    moment = now()
    return [moment.timestamp(), utcformat(moment)]


__all__ = ["LEFT", "LOOKED_AT", "MOST_AT_ONCE", "Dependents"]
