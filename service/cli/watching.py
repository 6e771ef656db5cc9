"""One job, shown while it goes on: for `paddock watch ID` and `paddock submit --wait`."""

import time
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

import click
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from service.broker.broker import Broker
from service.broker.entries import LogLine
from service.broker.records import JobRecord
from service.cli.following import Sight, sights
from service.cli.progress import state_line, told_progress
from service.cli.terminal import is_live, printable

REFRESHES = 8  # a second
TOLD_INTERVAL = 1.0  # seconds between plain lines about progress, at least
STEP = 0.1  # of the whole, that is worth a plain line


def watch_job(broker: Broker, job_id: str, console: Console) -> JobRecord:
    """Show on this console how the job does, until it has ended; the job as it is then.

    Raises `JobNotFound`, `redis.RedisError` where Redis is away from the first, and `click.Abort`
    after Ctrl-C, which leaves the job as it is.
    """
    view: View = LiveView(console) if is_live(console) else PlainView(console)
    try:
        with view.opened():
            for seen in sights(broker, job_id):
                view.show(seen)
        return seen.job
    except KeyboardInterrupt:
        click.echo(f"{job_id} goes on: `paddock watch {job_id}` shows it again.", err=True)
        raise click.Abort from None


class View(Protocol):
    def opened(self) -> AbstractContextManager[object]: ...

    def show(self, seen: Sight) -> None: ...


class LiveView:
    """The log, and below it a line that changes."""

    def __init__(self, console: Console) -> None:
        self._seen: Sight | None = None
        self._live = Live(
            get_renderable=self._line,
            console=console,
            refresh_per_second=REFRESHES,
            transient=True,
        )

    def opened(self) -> AbstractContextManager[object]:
        return self._live

    def show(self, seen: Sight) -> None:
        for line in seen.lines:
            self._live.console.print(_styled(line), soft_wrap=True)
        self._seen = seen

    def _line(self) -> RenderableType:
        if self._seen is None:
            return ""
        state = state_line(self._seen.job)
        return Group(Text(self._seen.fault, "bold red"), state) if self._seen.fault else state


class PlainView:
    """A line for each change, without control codes."""

    def __init__(self, console: Console) -> None:
        self._out = console.file
        self._state: tuple[object, ...] = ()
        self._progress: tuple[object, ...] = ()
        self._told_from = 0.0
        self._fault = ""

    def opened(self) -> AbstractContextManager[object]:
        return nullcontext()

    def show(self, seen: Sight) -> None:
        if seen.fault and not self._fault:
            self._tell(seen.fault)
        self._fault = seen.fault
        if not seen.job.status.is_final:
            self._tell_state(seen.job)
        for line in seen.lines:
            level = f"{line.level} " if line.level else ""
            self._tell(level + printable(line.text))
        self._tell_progress(seen.job)
        self._tell_state(seen.job)

    def _tell_state(self, job: JobRecord) -> None:
        if (state := (job.status, job.attempts)) != self._state:
            attempt = f", attempt {job.attempts}" if job.attempts > 1 else ""
            self._tell(f"{job.id} {job.status}{attempt}")
            self._state = state

    def _tell_progress(self, job: JobRecord) -> None:
        """Where it has come a step further, or says something else; now and then."""
        told = job.progress
        if told is None or job.status.is_final or time.monotonic() < self._told_from:
            return
        step = None if told.fraction is None else int(told.fraction / STEP)
        if (progress := (job.attempts, step, told.message)) != self._progress:
            self._tell(f"{job.id} {printable(told_progress(job))}")
            self._progress = progress
            self._told_from = time.monotonic() + TOLD_INTERVAL

    def _tell(self, text: str) -> None:
        click.echo(text, file=self._out)


def _styled(line: LogLine) -> Text:
    text = Text.assemble((f"{line.at.astimezone():%H:%M:%S} ", "dim"))
    if line.level:
        text.append(f"{line.level} ", "bold")
    return text.append(printable(line.text), "red" if line.stream == "stderr" else "")
