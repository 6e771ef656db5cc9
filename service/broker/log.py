"""What a job has printed and logged, out of its journal."""

from dataclasses import dataclass

import redis
from rq.job import Job

from service.broker.entries import LogLine, LogPiece, read_entry
from service.errors import JobNotFound
from service.journal import JOURNAL_SUFFIX, MOST_LINES


@dataclass(frozen=True, slots=True)
class Log:
    """The end of a job's log, all of its executions together."""

    lines: list[LogLine]
    dropped: int  #: lines before those

    def __str__(self) -> str:
        return "".join(f"{line.text}\n" for line in self.lines)


def read_log(client: "redis.Redis", job_id: str) -> Log:
    """Raises `JobNotFound`."""
    key = Job.key_for(job_id)
    with client.pipeline() as pipe:
        pipe.exists(key)
        pipe.hget(key, "log_lines")
        pipe.lrange(f"{key}{JOURNAL_SUFFIX}", 0, -1)
        exists, reported, entries = pipe.execute()
    if not exists:
        raise JobNotFound(job_id)
    kept = [line for entry in entries for line in log_lines(entry)][-MOST_LINES:]
    return Log(kept, dropped=max(0, int(reported or 0) - len(kept)))


def log_lines(entry: bytes) -> list[LogLine]:
    """Those in this entry of a journal."""
    if entry.startswith(b"0 "):
        return []
    piece = read_entry(entry)
    return piece.lines if isinstance(piece, LogPiece) else []
