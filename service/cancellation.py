"""What it takes for a job to be canceled: Lua for the scripts that cancel one, whyever they do."""

from service.admission import UNIQUE
from service.waiting import WAITING

# file_canceled(id, registry, kept, by, why): for a job that has been taken off its queue.
# `registry`: of canceled jobs; `kept`: seconds that those are kept; `by`: who does it, nil where
# somebody was noted before; `why`: 'Type: message' where nobody asked for it, else nil.
CANCELLATION = (
    WAITING
    + UNIQUE
    + """
local function file_canceled(id, registry, kept, by, why)
    local job = key_of(id)
    if by then
        redis.call('HSETNX', job, 'canceled_by', by)
    end
    redis.call('HSET', job, 'status', 'canceled', 'ended_at', stamp, 'exc_info', why or '')
    moved(job, id)
    count_end(job, 'canceled')
    for _, key in ipairs({job, job .. ':history', job .. ':journal', dependencies_of(id)}) do
        redis.call('EXPIRE', key, kept)
    end
    release(job, id)
    -- RQ never drops anything from this registry
    redis.call('ZREMRANGEBYSCORE', registry, '-inf', now - kept)
    redis.call('ZADD', registry, now, id)
    notify(id, 'canceled', stamp, why and told_why(why))
    over(id)
end
"""
)
