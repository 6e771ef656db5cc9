"""`paddock top`: queues, workers and running jobs, as they are now, and now, and now."""

import json
from collections.abc import Callable

import click
from pydantic import TypeAdapter
from redis.exceptions import RedisError
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from service.broker.intake import known_queues
from service.cli.connecting import open_broker
from service.cli.output import as_json_option, duration
from service.cli.progress import progress_bar
from service.cli.survey import Survey
from service.cli.terminal import cell, is_live, keys, table
from service.settings import Settings

INTERVAL = 1.0  # seconds between looks
COUNTS = ("queued", "running", "scheduled", "waiting")  # of a queue, as columns

_SURVEY = TypeAdapter(Survey)


@click.command()
@click.option(
    "--interval",
    type=click.FloatRange(min=0.1),
    default=INTERVAL,
    show_default=True,
    help="Seconds between looks.",
)
@as_json_option
def top(interval: float, as_json: bool) -> None:
    """Watch queues, workers and running jobs; q or Ctrl-C ends it.

    Where the output is no terminal it is a line for each of them, once.
    """
    console = Console()
    with open_broker() as broker:
        queues = known_queues(Settings.load(), broker.catalogue)
        if as_json:
            seen = _SURVEY.dump_python(Survey.of(broker, queues), mode="json")
            click.echo(json.dumps(seen))
        elif is_live(console):
            _show(lambda: Survey.of(broker, queues), console, interval)
        else:
            click.echo("\n".join(Survey.of(broker, queues).lines()))


def _show(look: Callable[[], Survey], console: Console, interval: float) -> None:
    seen, fault = look(), ""
    with Live(console=console, screen=True, auto_refresh=False) as live, keys() as pressed:
        try:
            while True:
                live.update(_view(seen, fault), refresh=True)
                if "q" in pressed(interval).lower():
                    return
                try:
                    seen, fault = look(), ""
                except RedisError as error:
                    fault = f"Redis does not answer: {error}"
        except KeyboardInterrupt:
            return


def _view(seen: Survey, fault: str) -> RenderableType:
    """The running jobs come last: the terminal cuts off what it has no room for."""
    head = Text.assemble(
        ("Paddock", "bold"),
        f"  {seen.at:%H:%M:%S} UTC  {sum(queue.queued for queue in seen.queues)} queued, "
        f"{sum(queue.running for queue in seen.queues)} running, {len(seen.workers)} workers",
        ("  q ends this", "dim"),
    )
    if fault:
        head.append(f"\n{fault}", "bold red")
    return Group(head, "", _queues(seen), "", _workers(seen), "", _running(seen))


def _queues(seen: Survey) -> Table:
    rows = table("queue", *COUNTS, "failed", "oldest", "a minute", "workers", wide=("queue",))
    for column in rows.columns[1:]:
        column.justify = "right"
    for queue in seen.queues:
        rows.add_row(
            cell(queue.name).append(" paused" if queue.paused else "", "yellow"),
            *(str(getattr(queue, name)) for name in COUNTS),
            Text(str(queue.failed), "red" if queue.failed else ""),
            "" if queue.oldest_age is None else duration(queue.oldest_age),
            f"{queue.throughput:.1f}",
            Text(str(queue.workers), "" if queue.workers else "yellow"),
        )
    return rows


def _workers(seen: Survey) -> Table:
    rows = table("worker", "queues", "state", "runs", "done", "failed", "MiB", wide=("queues",))
    for worker in seen.workers:
        rows.add_row(
            Text(f"{worker.host} {worker.pid}"),
            cell(",".join(worker.queues)),
            Text(worker.state, "green" if worker.state == "busy" else ""),
            Text(worker.job or ""),
            str(worker.finished + worker.failed),
            str(worker.failed),
            str(((worker.rss or 0) + (worker.horses_rss or 0)) >> 20 or ""),
        )
    return rows


def _running(seen: Survey) -> Table:
    rows = table("running", "task", "for", "", "queue", wide=("task", "", "queue"))
    for job in seen.running:
        since = duration((seen.at - (job.started_at or seen.at)).total_seconds())
        rows.add_row(Text(job.id), cell(job.task), since, progress_bar(job), cell(job.queue))
    return rows
