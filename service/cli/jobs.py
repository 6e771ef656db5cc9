"""Commands about jobs that are there. They speak to Redis directly, so they need no API."""

import json
from datetime import datetime

import click

from service.broker.canceler import this_program
from service.broker.listing import JobFilter
from service.broker.status import FINAL, Status
from service.cli.connecting import open_broker
from service.cli.filtering import filter_of, filter_options, status_option
from service.cli.output import as_json_option, job_as_json, job_as_line, show

PAGE = 200  # jobs read at a time


@click.command()
@click.argument("job_id", metavar="ID")
@as_json_option
def status(job_id: str, as_json: bool) -> int:
    """Show how a job does."""
    with open_broker() as broker:
        return show(broker.job(job_id), as_json)


@click.command()
@status_option(Status)
@filter_options
@click.option(
    "--limit", type=click.IntRange(min=1), default=50, show_default=True, help="So many at most."
)
@as_json_option
def jobs(
    status: str | None,
    task: str | None,
    queue: str | None,
    since: datetime | None,
    limit: int,
    as_json: bool,
) -> None:
    """List jobs, newest first, a line for each."""
    wanted = filter_of(status, task, queue, since)
    shown, cursor = 0, None
    with open_broker() as broker:
        while shown < limit:
            page = broker.listing.page(wanted, cursor, min(limit - shown, PAGE))
            for job in page.jobs:
                click.echo(job_as_json(job) if as_json else job_as_line(job))
            shown, cursor = shown + len(page.jobs), page.next_cursor
            if cursor is None:
                return


@click.command()
@click.argument("job_id", metavar="[ID]", required=False)
@click.option("--failed", is_flag=True, help="All failed jobs, or those that fit.")
@filter_options
@as_json_option
def retry(
    job_id: str | None,
    failed: bool,
    task: str | None,
    queue: str | None,
    since: datetime | None,
    as_json: bool,
) -> int:
    """Run a failed job again, or with --failed all of them."""
    wanted = filter_of(None, task, queue, since)
    if (job_id is None) != failed or (job_id and wanted != JobFilter()):
        raise click.UsageError("Give either the ID of a job, or --failed.")
    with open_broker() as broker:
        if job_id is not None:
            broker.actions.retry(job_id)
            return show(broker.job(job_id), as_json)
        done = broker.bulk_actions.retry(wanted)
    if as_json:
        click.echo(json.dumps({"retried": done.ids, "skipped": done.skipped}))
    else:
        left = f", {done.skipped} left failed" if done.skipped else ""
        click.echo(f"{len(done.ids)} queued again{left}")
    return 0


@click.command()
@click.argument("job_id", metavar="[ID]", required=False)
@status_option(set(Status) - FINAL)
@filter_options
@as_json_option
def cancel(
    job_id: str | None,
    status: str | None,
    task: str | None,
    queue: str | None,
    since: datetime | None,
    as_json: bool,
) -> int:
    """Cancel a job, or all that fit; one that runs is interrupted, and a second later killed."""
    wanted = filter_of(status, task, queue, since)
    if (job_id is None) == (wanted == JobFilter()):
        raise click.UsageError("Give either the ID of a job, or which: --status, --task, …")
    by = this_program("the command line")
    with open_broker() as broker:
        if job_id is not None:
            broker.actions.cancel(job_id, by=by)
            return show(broker.job(job_id), as_json)
        done = broker.bulk_actions.cancel(wanted, by=by)
    if as_json:
        click.echo(json.dumps({"canceled": done.canceled, "stopping": done.stopping}))
    else:
        click.echo(f"{done.canceled} canceled, {done.stopping} told to stop")
    return 0
