"""The statuses that a job has come to, out of its journal."""

import redis
from rq.job import Job

from service.broker.entries import Step, read_entry
from service.journal import JOURNAL_SUFFIX

# KEYS: journal; → its entries but for those of the log, which may be a megabyte
_STATUSES = """
local found = {}
for _, entry in ipairs(redis.call('LRANGE', KEYS[1], 0, -1)) do
    if string.sub(entry, 1, 2) == '0 ' then
        table.insert(found, entry)
    end
end
return found
"""


def read_steps(client: "redis.Redis", job_id: str) -> list[Step]:
    """Since the job was enqueued, oldest first; none where it has no journal."""
    entries = client.eval(_STATUSES, 1, f"{Job.key_for(job_id)}{JOURNAL_SUFFIX}")
    return [step for entry in entries if isinstance(step := read_entry(entry), Step)]
