"""How far a job is, as it is shown on a terminal and in plain lines."""

from datetime import UTC, datetime

from rich.console import RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from service.broker.records import JobRecord
from service.broker.status import Status
from service.cli.output import duration
from service.cli.terminal import cell

BAR = 12  # characters
STYLES = {
    Status.RUNNING: "cyan",
    Status.FINISHED: "green",
    Status.FAILED: "red",
    Status.CANCELED: "yellow",
}


def progress_bar(job: JobRecord) -> RenderableType:
    """A bar, how far it is, and its message; empty where it has told nothing of itself."""
    told = job.progress
    if told is None or job.status is not Status.RUNNING:
        return ""
    line = Table.grid(padding=(0, 1))
    if told.fraction is not None:
        line.add_column()
        line.add_column(no_wrap=True)  # what is cut off last
        bar = ProgressBar(total=1.0, completed=told.fraction, width=BAR)
        line.add_row(bar, f"{told.fraction:4.0%}", cell(told.message or ""))
    else:
        line.add_row(cell(told.message or ""))
    return line


def state_line(job: JobRecord) -> RenderableType:
    """One line that changes while a job is waited for."""
    line = Table.grid(padding=(0, 1))
    line.add_row(
        cell(job.task, "bold"),
        Text(job.status, STYLES.get(job.status, "")),
        Text(f"for {_age(job)}" + (f", attempt {job.attempts}" if job.attempts > 1 else "")),
        progress_bar(job),
    )
    return line


def told_progress(job: JobRecord) -> str:
    """`40 % parsing`; empty where it has told nothing of itself."""
    told = job.progress
    if told is None or job.status is not Status.RUNNING:
        return ""
    fraction = "" if told.fraction is None else f"{told.fraction:.0%}".replace("%", " %")
    return " ".join(part for part in (fraction, told.message) if part)


def _age(job: JobRecord) -> str:
    since = job.started_at if job.status is Status.RUNNING else job.enqueued_at
    return duration((datetime.now(UTC) - since).total_seconds()) if since else "a while"
