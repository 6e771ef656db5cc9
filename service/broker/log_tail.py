"""What comes to a job's log, from one look to the next."""

import redis
from rq.job import Job

from service.broker.entries import LogLine
from service.broker.log import log_lines
from service.journal import JOURNAL_SUFFIX


class LogTail:
    """One reader's place in a job's journal. Entries are numbered, so none is missed or told twice.

    But for those that were dropped before they were read, since so much was printed meanwhile.
    """

    def __init__(self, client: "redis.Redis", job_id: str) -> None:
        self._client, self._key = client, Job.key_for(job_id)
        self._read = 0  # number of the last entry that was read

    def read(self) -> list[LogLine]:
        """The lines since the last look; at first all that are kept. None of a job that is gone."""
        end, entries = int(self._client.hget(self._key, "journal_end") or 0), list[bytes]()
        while end > self._read:
            with self._client.pipeline() as pipe:
                pipe.hget(self._key, "journal_end")
                pipe.lrange(f"{self._key}{JOURNAL_SUFFIX}", self._read - end, -1)
                end_then, entries = pipe.execute()
            if int(end_then or 0) == end:
                break
            end = int(end_then or 0)  # more have come, which pushed others out of what was read
        self._read = end
        return [line for entry in entries for line in log_lines(entry)]
