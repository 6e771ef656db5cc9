"""Options that say which jobs are meant."""

import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import click

from service.broker.listing import JobFilter
from service.broker.status import Status

Command = TypeVar("Command", bound=Callable[..., Any])

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def status_option(statuses: Iterable[Status]) -> Callable[[Command], Command]:
    """Add `--status`."""
    choice = click.Choice([status.value for status in Status if status in statuses])
    return click.option("--status", type=choice, help="Those that stand there.")


def filter_options(command: Command) -> Command:
    """Add `--task`, `--queue` and `--since`."""
    for option in (
        click.option(
            "--since", callback=_moment, metavar="TIME", help="Enqueued since: 90m, 2h, 7d, a time."
        ),
        click.option("--queue", help="Those of this queue."),
        click.option("--task", help="Those of this task."),
    ):
        command = option(command)
    return command


def filter_of(
    status: str | None, task: str | None, queue: str | None, since: datetime | None
) -> JobFilter:
    """What the options mean."""
    return JobFilter(status=Status(status) if status else None, task=task, queue=queue, since=since)


def _moment(
    context: click.Context, parameter: click.Parameter, value: str | None
) -> datetime | None:
    """As people write a time in the past: how long ago, or RFC 3339."""
    if value is None:
        return None
    try:
        if ago := re.fullmatch(r"(\d+)([smhd])", value):
            return datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        return datetime.fromisoformat(value).astimezone(UTC)  # without a zone: this machine's
    except (ValueError, OverflowError):
        raise click.BadParameter(
            f"{value!r} is neither like 90m, 2h, 7d nor like 2030-01-31T12:00:00Z."
        ) from None
