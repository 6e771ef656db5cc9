"""What is counted in Redis since ever, beside the history: jobs submitted, CPU seconds and memory.

Counted where it happens, in the scripts that enqueue a job and record an execution's end: so it is
the same whichever process is asked, and outlives all of them.
"""

SUBMITTED = "paddock:submitted"  # task → jobs that were enqueued, by whatever way
CPU = "paddock:cpu"  # task → microseconds that its executions took
MEMORY = "paddock:memory"  # task → bytes that the latest of its executions held at its peak

# Lua functions for scripts
# tally_submitted(task, how many), tally_usage(task or false, the record of an execution)
#
# What can't be counted must not keep a job from its queue.
TALLY = f"""
local function tally_submitted(task, count)
    redis.pcall('HINCRBY', '{SUBMITTED}', task, count)
end

local function tally_usage(task, record)
    local used = task and cjson.decode(record) or {{}}
    if type(used.cpu_seconds) == 'number' then
        redis.pcall('HINCRBY', '{CPU}', task, math.floor(used.cpu_seconds * 1000000 + 0.5))
    end
    if (used.peak_rss or 0) > 0 then
        redis.pcall('HSET', '{MEMORY}', task, used.peak_rss)
    end
end
"""
