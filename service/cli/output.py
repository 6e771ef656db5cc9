"""How the command line shows a job."""

import json
from datetime import UTC, datetime

from pydantic import TypeAdapter

from service.broker.records import JobRecord

_JOB = TypeAdapter(JobRecord)


def job_as_json(job: JobRecord) -> str:
    """The same document as the API's."""
    return json.dumps(_JOB.dump_python(job, mode="json"))


def job_as_text(job: JobRecord) -> str:
    """A line for each thing there is to say."""
    lines = [f"{job.id}  {job.task}  {job.status}"]
    lines.append(f"  parameters  {json.dumps(job.parameters)}")
    lines.append(f"  queue       {job.queue}")
    if job.depends_on:
        lines.append(f"  depends on  {', '.join(job.depends_on)}")
    for name in ("enqueued_at", "scheduled_for", "expires_at", "started_at", "ended_at"):
        if (moment := getattr(job, name)) is not None:
            lines.append(f"  {name.replace('_', ' '):<12}{moment:%Y-%m-%d %H:%M:%S} UTC")
    if job.attempts > 1 or job.retries_left:
        lines.append(f"  attempts    {job.attempts}, retries left {job.retries_left}")
    if job.error is not None:
        lines.append(f"  error       {job.error.type}: {job.error.message}")
    elif job.result is not None:
        lines.append(f"  result      {json.dumps(job.result)}")
    return "\n".join(lines)


def progress_line(job: JobRecord) -> str:
    """One line that changes while a job is waited for."""
    since = job.started_at or job.enqueued_at
    seconds = (datetime.now(UTC) - since).total_seconds() if since else 0
    attempt = f", attempt {job.attempts}" if job.attempts > 1 else ""
    return f"{job.task} {job.status} for {seconds:.0f} s{attempt}"
