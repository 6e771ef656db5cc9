"""How the command line shows a job."""

import json
import sys

import click
from pydantic import TypeAdapter

from service.broker.records import JobRecord
from service.broker.status import Status
from service.cli.terminal import printable

_JOB = TypeAdapter(JobRecord)

as_json_option = click.option("--json", "as_json", is_flag=True, help="For machines.")


def show(job: JobRecord, as_json: bool, *, failed_is_error: bool = False) -> int:
    """Print it; the exit status."""
    click.echo(job_as_json(job) if as_json else job_as_text(job))
    sys.stdout.flush()
    ended_badly = job.status in (Status.FAILED, Status.CANCELED)
    return 1 if failed_is_error and ended_badly else 0


def job_as_json(job: JobRecord) -> str:
    """The API's document, less what is expected of the job."""
    return json.dumps(_JOB.dump_python(job, mode="json"))


def job_as_text(job: JobRecord) -> str:
    """A line for each thing there is to say; an error's message may have more of them."""
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
    if job.canceled_by is not None:
        lines.append(f"  canceled by {job.canceled_by}")
    if job.error is not None:
        lines.append(f"  error       {job.error.type}: {job.error.message}")
    elif job.result is not None:
        lines.append(f"  result      {json.dumps(job.result)}")
    return "\n".join(map(printable, "\n".join(lines).split("\n")))


def job_as_line(job: JobRecord) -> str:
    """What it is, where it stands, and since when."""
    since = job.ended_at or job.started_at or job.enqueued_at
    moment = f"{since:%Y-%m-%d %H:%M:%S}" if since else "-"
    return printable(f"{job.id}  {moment:<19}  {job.status:<9}  {job.queue}  {job.task}")


def duration(seconds: float) -> str:
    """In the one unit that people would take: `12 s`, `3 min`."""
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"
