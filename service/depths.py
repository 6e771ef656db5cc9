"""How many jobs waited on each queue, minute by minute, for charts. Lua and its keys.

The scheduler looks every few seconds, also at queues that no worker serves, and the most that it
saw stands for the minute. So while no worker runs at all nothing is noted, and a chart has a gap.
"""

MINUTES_KEPT = 2 * 3600  # seconds; a hash holds the minutes of one hour


def depths_key(hour: int, queue: str) -> str:
    """The hash of an hour (counted since 1970): field: minute, value: jobs."""
    return f"paddock:depths:{hour}:{queue}"


# Lua function for the scheduler's script.
# note_depth(queue's key)
DEPTHS = f"""
local function note_depth(queue)
    local minute = math.floor(now / 60)
    local hour, name = math.floor(minute / 60), string.match(queue, '^rq:queue:(.*)$')
    local key = string.format('paddock:depths:%d:%s', hour, name)
    local field = string.format('%d', minute % 60)
    local depth = redis.call('LLEN', queue)
    if depth > tonumber(redis.call('HGET', key, field) or -1) then
        redis.call('HSET', key, field, depth)
        redis.call('EXPIRE', key, {MINUTES_KEPT})
    end
end
"""
