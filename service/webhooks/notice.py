"""The job that delivers a webhook, enqueued by the script that records how another job ended.

So each end is told by exactly one job, whatever dies in between; a script that is sent again finds
that the end is recorded, and does nothing. What is told is what held at that moment: the ended job
may have expired, or been retried, when the delivery runs.
"""

import json
import re
from typing import Any

from redis import Redis
from rq import Retry
from rq.defaults import RQ_KEY_PREFIX
from rq.job import Job

from service.failure import read_failure
from service.webhooks.delivery import QUEUE, deliver_webhook

LARGEST_RESULT = 20 * 1024  # bytes of JSON; Standard Webhooks advises against larger events
LONGEST_MESSAGE = 2_000  # characters of an error

NOTHING = '"result":null,"error":null'

# NaN and infinities, which Python writes; a string that reads so is matched as a string.
_NO_JSON = re.compile(r'"(?:[^"\\]|\\.)*"|NaN|-?Infinity')

# Fields that each delivery has of its own; the rest of its hash is the same for all.
_OWN = {"created_at", "enqueued_at", "status", "data", "description", "origin"}


def told_result(job_id: str, body: bytes) -> str:
    """For `notify`: the result, which is JSON; where it is too large, where to find it."""
    if len(body) <= LARGEST_RESULT:
        return f'"result":{_NO_JSON.sub(_null, body.decode())},"error":null'
    omitted = {"bytes": len(body), "href": f"/jobs/{job_id}/result"}
    return f'{NOTHING},"result_omitted":{json.dumps(omitted)}'


def told_error(text: str) -> str:
    """For `notify`: what went wrong. The traceback is nothing for other people's servers."""
    failure = read_failure(text)
    error = {"type": failure.type[:LONGEST_MESSAGE], "message": failure.message[:LONGEST_MESSAGE]}
    return f'"result":null,"error":{json.dumps(error)}'


def _null(found: re.Match[str]) -> str:
    return found[0] if found[0].startswith('"') else "null"


def _constant_fields() -> str:
    """The hash of a delivery, as far as it is always the same: Lua's arguments of HSET."""
    policy = deliver_webhook.policy
    assert policy.retry is not None
    job = Job.create(
        deliver_webhook.path,
        connection=Redis(),  # RQ wants one, and leaves it unused
        timeout=policy.timeout,
        result_ttl=policy.result_ttl,
        failure_ttl=policy.failure_ttl,
        retry=Retry(max=policy.retry.max, interval=policy.retry.intervals()),
        serializer="json",
    )
    ours = {"task": deliver_webhook.name, "max_crashes": policy.most_crashes}
    fields: dict[str, Any] = job.to_dict() | ours
    return ", ".join(
        f"{json.dumps(name)}, {json.dumps(str(value))}"
        for name, value in fields.items()
        if name not in _OWN
    )


# Lua functions for scripts that record a job's end, to be called when the job's hash tells of it.
# notify(job id, 'finished' | 'failed' | 'canceled', now (RQ's text), members of the event's data as
# JSON text, or nil where there is no more to tell)
# notify_of_failure(job id, now (RQ's text), why: 'Type: message')
# told_why(why): such members, of an error
NOTIFY = f"""
local function notify(id, status, timestamp, outcome)
    local prefix = '{RQ_KEY_PREFIX}'
    local job = prefix .. ':job:' .. id
    local f = redis.call('HMGET', job, 'webhook', 'origin', 'attempts', 'enqueued_at', 'started_at')
    if not f[1] then
        return
    end
    local hook = cjson.decode(f[1])
    local delivery = id .. '-webhook-' .. redis.call('HINCRBY', job, 'webhooks_made', 1)

    local queue = f[2]
    for _, worker in ipairs(redis.call('SMEMBERS', prefix .. ':workers:{QUEUE}')) do
        if redis.call('EXISTS', worker) == 1 then
            queue = '{QUEUE}'
        end
    end

    local function time(text)
        return text and text ~= '' and cjson.encode(text) or 'null'
    end
    local event = '{{"type":"job.' .. status .. '","timestamp":"' .. timestamp
        .. '","data":{{"id":' .. cjson.encode(id) .. ',"task":' .. cjson.encode(hook.task)
        .. ',"status":"' .. status .. '","queue":' .. cjson.encode(f[2])
        .. ',"attempts":' .. (f[3] or 0) .. ',"enqueued_at":' .. time(f[4])
        .. ',"started_at":' .. time(f[5]) .. ',"ended_at":"' .. timestamp .. '",'
        .. (outcome or '{NOTHING}') .. '}}}}'
    redis.call('HSET', prefix .. ':job:' .. delivery, {_constant_fields()},
        'status', 'queued', 'created_at', timestamp, 'enqueued_at', timestamp, 'origin', queue,
        'description', '{deliver_webhook.name}: job.' .. status .. ' of ' .. id,
        'data', '["{deliver_webhook.path}",null,[],{{"id":' .. cjson.encode(delivery)
            .. ',"url":' .. cjson.encode(hook.url)
            .. ',"event":' .. cjson.encode(event) .. '}}]')
    redis.call('SADD', prefix .. ':queues', prefix .. ':queue:' .. queue)
    redis.call('RPUSH', prefix .. ':queue:' .. queue, delivery)
end

local function told_why(why)
    local kind, message = string.match(why, '^(%a+): (.*)$')
    return '"result":null,"error":{{"type":' .. cjson.encode(kind or 'Failure')
        .. ',"message":' .. cjson.encode(message or why) .. '}}'
end

local function notify_of_failure(id, timestamp, why)
    notify(id, 'failed', timestamp, told_why(why))
end
"""
