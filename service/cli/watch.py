"""`paddock watch`: one job to its end, or all jobs as they change."""

import contextlib
import time
from collections.abc import Iterable
from datetime import UTC, datetime

import click
from redis.exceptions import RedisError
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from service.broker.broker import Broker
from service.broker.listing import JobFilter
from service.broker.records import JobRecord
from service.cli.connecting import open_broker
from service.cli.following import Move, moves
from service.cli.output import duration, show
from service.cli.progress import STYLES, progress_bar
from service.cli.terminal import cell, is_live, keys, printable, table
from service.cli.watching import watch_job

REFRESH = 0.25  # seconds between refreshes of the table, at least
FRAME = 4  # lines of the terminal that are no job's
MOST = 200  # jobs that are remembered


@click.command()
@click.argument("job_id", metavar="[ID]", required=False)
@click.option("--task", help="Without an ID: those of this task.")
@click.option("--queue", help="Those of this queue.")
def watch(job_id: str | None, task: str | None, queue: str | None) -> int:
    """Watch a job until it has ended, or all jobs as they change; status 1 if it failed.

    With its log and progress: on a terminal as they change, else in plain lines. Ctrl-C leaves the
    job as it is.
    """
    console = Console()
    if job_id is not None and (task or queue):
        raise click.UsageError("Give either the ID of a job, or --task and --queue.")
    with open_broker() as broker:
        if job_id is not None:
            return show(watch_job(broker, job_id, console), False, failed_is_error=True)
        wanted = JobFilter(task=task, queue=queue)
        with contextlib.suppress(KeyboardInterrupt):
            (_watch_table if is_live(console) else _watch_lines)(broker, wanted, console)
    return 0


def _watch_lines(broker: Broker, wanted: JobFilter, console: Console) -> None:
    for told in moves(broker.client):
        if isinstance(told, str):
            click.echo(told, err=True)
            continue
        for move in told:
            if _fits(move, wanted):
                task = printable(move.task or "-")
                click.echo(f"{move.at:%H:%M:%S} {move.id} {move.status} {move.queue} {task}")


def _watch_table(broker: Broker, wanted: JobFilter, console: Console) -> None:
    recent = Recent(broker, wanted)
    with Live(console=console, screen=True, auto_refresh=False) as live, keys() as pressed:
        refreshed = 0.0
        for told in moves(broker.client):
            if "q" in pressed(0).lower():
                return
            if isinstance(told, str):
                live.update(_view([], told), refresh=True)
                continue
            recent.note(move for move in told if _fits(move, wanted))
            if time.monotonic() >= refreshed + REFRESH:
                with contextlib.suppress(RedisError):  # of which the next look tells
                    shown = recent.read(max(console.height - FRAME, 1))
                    live.update(_view(shown, ""), refresh=True)
                refreshed = time.monotonic()


class Recent:
    """The jobs that changed last."""

    def __init__(self, broker: Broker, wanted: JobFilter) -> None:
        self._reader = broker.reader
        latest = broker.listing.latest(wanted, MOST)
        self._ids = dict.fromkeys(job.id for job in reversed(latest))  # the last changed last

    def note(self, told: Iterable[Move]) -> None:
        """These have changed, in this order."""
        for move in told:
            self._ids.pop(move.id, None)
            self._ids[move.id] = None
        for job_id in list(self._ids)[:-MOST]:
            del self._ids[job_id]

    def read(self, most: int) -> list[JobRecord]:
        """As they are now, what changed last first. Raises `redis.RedisError`."""
        jobs = self._reader.read(list(self._ids)[: -most - 1 : -1])
        return [job for job in jobs if job is not None]


def _view(jobs: list[JobRecord], fault: str) -> RenderableType:
    rows = table("job", "task", "status", "since", "", "queue", wide=("task", "", "queue"))
    for job in jobs:
        since = job.ended_at or job.started_at or job.enqueued_at
        error = f"{job.error.type}: {job.error.message}" if job.error else ""
        rows.add_row(
            Text(job.id),
            cell(job.task),
            Text(job.status, STYLES.get(job.status, "")),
            duration((datetime.now(UTC) - since).total_seconds()) if since else "",
            cell(error, "red") if error else progress_bar(job),
            cell(job.queue),
        )
    head = Text(fault, "bold red") if fault else Text("Jobs, the last changed first; q ends this")
    return Group(head, "", rows)


def _fits(move: Move, wanted: JobFilter) -> bool:
    return wanted.task in (None, move.task) and wanted.queue in (None, move.queue)
