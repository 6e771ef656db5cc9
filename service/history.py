"""What has become of each task's jobs over time: counts, durations and waits. Lua and its keys.

The script that ends an execution counts it, for each pair of a task and a queue, in what the pair
has of its latest minute. The first end in another minute adds those counts to three hashes: by
minute (kept for a day), by hour (for a month) and since ever. A text holds the counts that are not
zero, each after its letter: "s12u5400123f12" says twelve that finished, which took 5.4 s together,
and each between 250 and 500 ms. So a minute of a usual task takes about 40 bytes.

What a stock RQ worker runs is not counted: it knows of no script of ours.
"""

import re
from string import ascii_lowercase, ascii_uppercase

#: Upper bounds of the histograms' buckets in seconds; a last one is for all that took longer.
BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)

MINUTES_KEPT = 25 * 3600  # seconds; a hash holds the minutes of one hour
HOURS_KEPT = 32 * 24 * 3600  # likewise; a hash holds the hours of one day
STEADY = 30  # executions that a task's mean duration looks back on, the latest counting most

# The letters. Sums are microseconds.
RUNS, WAITS = ascii_lowercase[: len(BOUNDS) + 1], ascii_uppercase[: len(BOUNDS) + 1]
OUTCOMES = {"finished": "s", "failed": "x", "canceled": "z", "retried": "r"}
RUN_SUM, WAIT_SUM = "u", "w"
MINUTE = "t"  # of the latest only: which minute since 1970
MEAN, MEAN_OF = "v", "y"  # likewise: the mean duration lately, and of how many

# Hashes, field: a pair, "<task> <queue>"; the task is empty where it is unknown.
LATEST = "paddock:history:latest"
TOTALS = "paddock:history:totals"  # without what is in LATEST


def minutes_key(hour: int, pair: str) -> str:
    """The hash of an hour (counted since 1970): field: minute."""
    return f"paddock:history:minutes:{hour}:{pair}"


def hours_key(day: int, pair: str) -> str:
    """The hash of a day: field: hour."""
    return f"paddock:history:hours:{day}:{pair}"


def read_mean(text: str) -> float | None:
    """Seconds that the latest executions of a pair took on average, of its text in LATEST."""
    found = re.search(rf"{MEAN}(\d+)", text)
    return int(found[1]) / 1e6 if found else None


# Lua functions for scripts that end executions or jobs.
# count_end(job's key, outcome, ran, waited, is whole)
#   outcome: 'finished', 'failed', 'canceled' (the job has ended), 'retried' (an execution that
#   raised, died or was put back; the job goes on), or nil where only the seconds are to be noted;
#   ran, waited: seconds of the execution, and from when it was queued to when it was started; nil
#   where there was none, or nobody can tell; is whole: it ended by itself, so its duration is one
#   to expect of others.
# read_counts(text): counts by their letters
#
# What can't be counted must not keep a job from ending: an error is passed over.
HISTORY = f"""
local BOUNDS = {{{", ".join(map(str, BOUNDS))}}}
local OUTCOMES = {{{", ".join(f"{name} = '{letter}'" for name, letter in OUTCOMES.items())}}}

local function bucket(letters, seconds)
    local at = 1
    while BOUNDS[at] and seconds > BOUNDS[at] do
        at = at + 1
    end
    return string.sub(letters, at, at)
end

local function read_counts(text)
    local counts = {{}}
    for letter, n in string.gmatch(text or '', '(%a)(%d+)') do
        counts[letter] = tonumber(n)
    end
    return counts
end

local function written(counts)
    local parts = {{}}
    for letter, n in pairs(counts) do
        parts[#parts + 1] = letter .. string.format('%.0f', n)
    end
    return table.concat(parts)
end

local function add(counts, letter, n)
    counts[letter] = (counts[letter] or 0) + n
end

local function add_in(key, field, more)
    local counts = read_counts(redis.call('HGET', key, field))
    for letter, n in pairs(more) do
        add(counts, letter, n)
    end
    redis.call('HSET', key, field, written(counts))
end

-- Its latest minute is over.
local function file_minute(pair, minute, counts)
    local hour, day = math.floor(minute / 60), math.floor(minute / 1440)
    local minutes = string.format('paddock:history:minutes:%d:%s', hour, pair)
    local hours = string.format('paddock:history:hours:%d:%s', day, pair)
    add_in(minutes, string.format('%d', minute % 60), counts)
    redis.call('EXPIRE', minutes, {MINUTES_KEPT})
    add_in(hours, string.format('%d', hour % 24), counts)
    redis.call('EXPIRE', hours, {HOURS_KEPT})
    add_in('{TOTALS}', pair, counts)
end

local function latest_of(pair)
    local counts = read_counts(redis.call('HGET', '{LATEST}', pair))
    local minute = math.floor(tonumber(redis.call('TIME')[1]) / 60)
    local before = counts['{MINUTE}']
    if before and before ~= minute then
        local latest = {{['{MEAN}'] = counts['{MEAN}'], ['{MEAN_OF}'] = counts['{MEAN_OF}']}}
        counts['{MINUTE}'], counts['{MEAN}'], counts['{MEAN_OF}'] = nil, nil, nil
        file_minute(pair, before, counts)
        counts = latest
    end
    counts['{MINUTE}'] = minute
    return counts
end

local function count_end_of(job, outcome, ran, waited, is_whole)
    local f = redis.call('HMGET', job, 'task', 'origin')
    local pair = (f[1] or '') .. ' ' .. (f[2] or '')
    local counts = latest_of(pair)
    if outcome then
        add(counts, OUTCOMES[outcome], 1)
    end
    if ran then
        ran = math.max(ran, 0)
        add(counts, '{RUN_SUM}', math.floor(ran * 1000000))
        add(counts, bucket('{RUNS}', ran), 1)
    end
    if waited then
        waited = math.max(waited, 0)
        add(counts, '{WAIT_SUM}', math.floor(waited * 1000000))
        add(counts, bucket('{WAITS}', waited), 1)
    end
    if is_whole then
        local of, mean = math.min((counts['{MEAN_OF}'] or 0) + 1, {STEADY}), counts['{MEAN}'] or 0
        counts['{MEAN}'] = mean + (ran * 1000000 - mean) / of
        counts['{MEAN_OF}'] = of
    end
    redis.call('HSET', '{LATEST}', pair, written(counts))
end

local function count_end(...)
    pcall(count_end_of, ...)
end
"""
