"""Moving jobs to their queues when their time has come: delayed ones, retries, and schedules'.

RQ's own scheduler fetches, pushes and removes in separate steps, dies when Redis blinks and is
started again ten minutes later. This one does each queue's move in one script, once a second,
and outlives an absent Redis. It holds RQ's scheduler lock, so a stock scheduler keeps off.
"""

import logging
import os
import signal
import sys
import time
from typing import Any

from redis import Redis
from redis.exceptions import RedisError
from rq.queue import Queue
from rq.registry import ScheduledJobRegistry
from rq.scheduler import RQScheduler
from rq.utils import current_timestamp, now, utcformat

from jobs.catalogue import Catalogue
from service.depths import DEPTHS
from service.execution.cron import Ticker
from service.settings import Settings
from service.tracing.export import flush_spans
from service.waiting import WAITING

REGISTER_INTERVAL = 20  # seconds between signs of life; RQ forgets it after 61
RENEW_INTERVAL = 5  # seconds between renewals of its lock
LOCK_TTL = 15  # seconds until another host's scheduler takes over from one that died
MOST_AT_ONCE = 500  # jobs moved by one script run, during which Redis serves nobody else

# KEYS: scheduler lock, scheduled registry, queue, for each queue
# ARGV: this scheduler's name, lock ttl, now (Unix), now (RQ's text), most jobs, whether to renew a
#       lock that it holds ('1' | '0')
_MOVE = (
    WAITING
    + DEPTHS
    + """
local name = ARGV[1]
now, stamp = tonumber(ARGV[3]), ARGV[4]
for i = 1, #KEYS, 3 do
    local holder = redis.call('GET', KEYS[i])
    if not holder or holder == name then
        if not holder or ARGV[6] == '1' then
            redis.call('SET', KEYS[i], name, 'EX', ARGV[2])
            note_depth(KEYS[i + 2])
        end
        for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[i + 1], 0, ARGV[3],
                'LIMIT', 0, ARGV[5])) do
            redis.call('ZREM', KEYS[i + 1], id)
            if redis.call('HGET', key_of(id), 'status') == 'scheduled' then
                queue(id)
            end
        end
    end
end
if ARGV[6] == '1' then  -- of queues that nobody serves too: there above all it matters
    for _, key in ipairs(redis.call('SMEMBERS', '"""
    + Queue.redis_queues_keys
    + """')) do
        pcall(note_depth, key)  -- one that is no list must not hold up what is due
    end
end
"""
)

logger = logging.getLogger("paddock.scheduler")


class Scheduler(RQScheduler):
    """RQ's scheduler in name, lock and record; `start` forks it, as RQ's."""

    def __init__(
        self, queues: list[Queue], connection: Redis, catalogue: Catalogue | None = None
    ) -> None:
        super().__init__(
            queues, connection=connection, logging_level=logging.WARNING, serializer="json"
        )
        self._catalogue = catalogue  #: what PADDOCK_TASKS names, where it is not given
        self._parent = os.getpid()
        self._renews_from = 0.0  # monotonic time

    @property
    def is_alive(self) -> bool:
        """Whether the process that `start` forked still runs."""
        return self._process is not None and self._process.is_alive()

    def start(self) -> Any:
        """Fork it, with the signals blocked that it must not hear as a copy of the worker.

        They stay blocked in its process: SIGTERM is waited for, and Ctrl-C is the worker's to hear.
        """
        before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGINT])
        try:
            return super().start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def work(self) -> None:
        """The process's loop; ends on SIGTERM, or when the worker that forked it is gone."""
        queues = [Queue(name, self.connection, serializer="json") for name in self._queue_names]
        self._acquired_locks = set(self._queue_names)  # what `stop` gives back, where it is ours
        move = self.connection.register_script(_MOVE)
        catalogue = self._catalogue or Catalogue.load(Settings.load().tasks)
        ticker = Ticker(self.connection, self.name, catalogue)
        told_to_stop, registers_from = False, 0.0
        while not told_to_stop and os.getppid() == self._parent:
            try:
                if time.monotonic() >= registers_from:
                    self.register_birth()
                    registers_from = time.monotonic() + REGISTER_INTERVAL
                self._move_due_jobs(move, queues)
                ticker.tick()
            except RedisError as error:
                logger.warning("The scheduler waits for Redis: %s", error)
            told_to_stop = _sigterm_within(self.interval)
        self._give_up(ticker)

    def move_once(self) -> None:
        """Move what is due now, in this process (for a worker in burst mode)."""
        queues = [Queue(name, self.connection, serializer="json") for name in self._queue_names]
        self._acquired_locks = set(self._queue_names)
        self._move_due_jobs(self.connection.register_script(_MOVE), queues)
        self.release_locks()

    def _move_due_jobs(self, move: Any, queues: list[Queue]) -> None:
        keys = [
            key
            for queue in queues
            for key in (
                self.get_locking_key(queue.name),
                ScheduledJobRegistry(queue=queue).key,
                queue.key,
            )
        ]
        renews = time.monotonic() >= self._renews_from
        move(
            keys=keys,
            args=[
                self.name,
                LOCK_TTL,
                current_timestamp(),
                utcformat(now()),
                MOST_AT_ONCE,
                int(renews),
            ],
        )
        if renews:
            self._renews_from = time.monotonic() + RENEW_INTERVAL

    def _give_up(self, ticker: Ticker) -> None:
        flush_spans()
        try:
            ticker.stop()
            self.stop()
        except RedisError as error:
            logger.warning("The scheduler's locks are left to expire: %s", error)


def _sigterm_within(seconds: float) -> bool:
    """Wait for this long, or until SIGTERM, which is blocked, has arrived."""
    if sys.platform == "linux":
        arrived = signal.sigtimedwait([signal.SIGTERM], seconds)
        # Where this process was stopped and goes on after that time, Python returns what nobody has
        # filled in.
        return arrived is not None and arrived.si_signo == signal.SIGTERM
    time.sleep(seconds)
    return signal.SIGTERM in signal.sigpending()
