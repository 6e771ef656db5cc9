"""What journals have that is new to their readers, for many of them in one look."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import redis.asyncio
from rq.job import Job
from rq.utils import as_text

from service.broker.status import Status, known_status
from service.journal import JOURNAL_SUFFIX

PART = 64 * 1024  # bytes of a journal that are read at a time, and an entry more
MOST = 4 * PART  # bytes of all journals together; during the look Redis serves nobody else
AT_ONCE = 20  # entries

# KEYS: jobs; ARGV: the number of the entry that the reader of each has come to
# → for each, until there is no more room: false where there is no such job, or what stands in the
#   hash, the number of the first entry, and the entries
_READ = f"""
local found, room = {{}}, {MOST}
local function part(journal, from)
    local entries, size = {{}}, 0
    while true do
        local some = redis.call('LRANGE', journal, from, from + {AT_ONCE - 1})
        for _, entry in ipairs(some) do
            entries[#entries + 1] = entry
            size = size + #entry
            if size >= {PART} then break end
        end
        if #some < {AT_ONCE} or size >= {PART} then break end
        from = from + {AT_ONCE}
    end
    room = room - size
    return entries
end
for i, job in ipairs(KEYS) do
    if room <= 0 then break end
    local f = redis.call('HMGET', job, 'status', 'journal_end', 'progress', 'enqueued_at',
        'started_at', 'ended_at', 'attempts', 'worker_name', 'created_at')
    if not f[1] then
        found[i] = false
    else
        local seen, last = tonumber(ARGV[i]), tonumber(f[2] or 0)
        if seen > last then seen = 0 end  -- it had come further in another journal
        local first, entries = last + 1, {{}}
        if seen < last then
            local journal = job .. '{JOURNAL_SUFFIX}'
            local oldest = last - redis.call('LLEN', journal) + 1
            first = math.max(seen + 1, oldest)
            entries = part(journal, first - oldest)
        end
        found[i] = {{f, first, entries}}
    end
end
return found
"""


@dataclass(frozen=True, slots=True)
class Reading:
    """How a job stands, and a part of what is new in its journal."""

    status: Status | None  #: None for a word that another program's RQ may have, and ours has not
    last: int  #: the number of the journal's last entry
    first: int  #: that of the first of these
    entries: list[bytes] = field(repr=False)
    progress: bytes | None
    enqueued_at: bytes | None
    started_at: bytes | None
    ended_at: bytes | None
    attempts: int
    worker: str | None
    created_at: bytes | None

    @property
    def is_all(self) -> bool:
        """Whether there is no more in the journal."""
        return self.first + len(self.entries) > self.last

    @property
    def has_ended(self) -> bool:
        """Whether the job has, and the journal is read to its end."""
        return self.is_all and self.status is not None and self.status.is_final


class JournalReader:
    """Reads journals as they stand beside their jobs, in one moment."""

    def __init__(self, client: "redis.asyncio.Redis") -> None:
        self._read = client.register_script(_READ)

    async def read(self, wanted: Sequence[tuple[str, int]]) -> list[Reading | None]:
        """For each job, and the number of the entry that its reader has come to, in this order.

        None where there is no such job; fewer than were asked for, but one at least, where it gets
        too much. Raises `redis.RedisError`.
        """
        keys = [Job.key_for(job_id) for job_id, _ in wanted]
        found = await self._read(keys=keys, args=[number for _, number in wanted])
        return [None if each is None else _reading(*each) for each in found]


def _reading(fields: list[bytes | None], first: int, entries: list[bytes]) -> Reading:
    status, last, progress, enqueued_at, started_at, ended_at, attempts, worker, created_at = fields
    return Reading(
        status=known_status((status or b"").decode(errors="replace")),
        last=_count(last),
        first=first,
        entries=entries,
        progress=progress,
        enqueued_at=enqueued_at,
        started_at=started_at,
        ended_at=ended_at,
        attempts=_count(attempts),
        worker=as_text(worker) if worker else None,
        created_at=created_at,
    )


def _count(text: bytes | None) -> int:
    return int(text) if text and text.isdigit() else 0  # anybody may have written anything
