"""Writing down what executions have reported, in one script for each batch of it.

It writes only for the execution that holds the job, and each batch once, however often it is sent:
what was written of it stands beside RQ's record of the execution, and goes with it.
"""

from collections.abc import Sequence
from typing import Any

from redis import Redis
from redis.exceptions import RedisError
from rq.defaults import RQ_KEY_PREFIX
from rq.job import Job
from rq.queue import Queue
from rq.registry import StartedJobRegistry

from service.execution.reporting.reported import Batch, Reported
from service.execution.scripts import ScriptCall, run_together
from service.journal import JOURNAL

# KEYS: started registry, job, RQ's record of the execution
# ARGV: job id, the execution as the registry has it, number of the batch, lines reported, progress
#       as JSON ('' for none), then of each entry: lines in it, JSON
# → 0 where the execution no longer holds the job, else 1
_WRITE = (
    JOURNAL
    + """
local id, job, record = ARGV[1], KEYS[2], KEYS[3]
if not redis.call('ZSCORE', KEYS[1], ARGV[2]) or redis.call('EXISTS', job) == 0 then
    return 0
end
if redis.call('EXISTS', record) == 1 then
    if tonumber(redis.call('HGET', record, 'reported') or 0) >= tonumber(ARGV[3]) then
        return 1
    end
    redis.call('HSET', record, 'reported', ARGV[3])
end
if ARGV[5] ~= '' then
    local number = redis.call('HINCRBY', job, 'progress_reports', 1)
    redis.call('HSET', job, 'progress', string.sub(ARGV[5], 1, -2) .. ', "number": ' .. number
        .. '}')
    tell_watchers(id)
end
if ARGV[4] ~= '0' then
    redis.call('HINCRBY', job, 'log_lines', ARGV[4])
end
for i = 6, #ARGV, 2 do
    journal(job, id, ARGV[i + 1], tonumber(ARGV[i]))
end
return 1
"""
)


class ReportWriter:
    """Writes for one worker."""

    def __init__(self, connection: Redis) -> None:
        self._connection = connection
        self.pending: set[Reported] = set()  #: those that have something for it, and run
        self._script = connection.register_script(_WRITE)

    def open(self, queue: Queue, job_id: str, execution_id: str) -> Reported:
        """Where to keep what this execution reports."""
        return Reported(queue, job_id, execution_id, self.pending)

    def write(self, reported: Reported) -> None:
        """What is new, or what may not have arrived. Raises `RedisError`: it is kept then."""
        try:
            answers = run_together(self._connection, self.calls(reported, everything=False))
        except RedisError:
            reported.postpone()
            raise
        if refused := self.answered(reported, answers):
            raise refused

    def calls(self, reported: Reported, *, everything: bool) -> list[ScriptCall]:
        """What to send together with something else; `answered` reads the answers.

        `everything` there is; or else what was sent before, where nobody knows whether it arrived.
        """
        return [self._call(reported, batch) for batch in reported.batches(everything=everything)]

    def answered(self, reported: Reported, answers: Sequence[Any]) -> RedisError | None:
        """What Redis said to those calls. Returns what it refused, which is kept."""
        if errors := [answer for answer in answers if isinstance(answer, RedisError)]:
            reported.postpone()
            return errors[0]
        reported.written(len(answers))
        if 0 in answers:
            reported.refuse()
        return None

    def _call(self, reported: Reported, batch: Batch) -> ScriptCall:
        execution = f"{reported.job_id}:{reported.execution_id}"
        return ScriptCall(
            self._script,
            [
                StartedJobRegistry(queue=reported.queue).key,
                Job.key_for(reported.job_id),
                f"{RQ_KEY_PREFIX}:execution:{execution}",
            ],
            [
                reported.job_id,
                execution,
                batch.number,
                batch.lines,
                batch.progress,
                *(part for entry in batch.entries for part in entry),
            ],
            # A server that does not know it must not be asked anew: the job may have been settled
            # by a script that came after this one, and would take no more.
            whole=True,
        )
