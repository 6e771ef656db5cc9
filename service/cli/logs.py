"""`paddock logs ID`: what a job has printed and logged, and with -f what it still does."""

import json
import sys
from collections.abc import Iterable

import click
from pydantic import TypeAdapter

from service.broker.entries import LogLine
from service.cli.connecting import open_broker
from service.cli.following import sights
from service.cli.output import as_json_option
from service.cli.terminal import printable

_LINE = TypeAdapter(LogLine)


@click.command()
@click.argument("job_id", metavar="ID")
@click.option("-f", "--follow", is_flag=True, help="Go on until the job has ended.")
@click.option("-t", "--times", is_flag=True, help="With the time, stream and level of each line.")
@as_json_option
def logs(job_id: str, follow: bool, times: bool, as_json: bool) -> None:
    """Print what a job has printed and logged, as far as it is kept."""

    def tell(lines: Iterable[LogLine]) -> None:
        for line in lines:
            click.echo(_as_json(line) if as_json else _as_text(line, times))

    with open_broker() as broker:
        log = broker.log(job_id)
        if log.dropped:
            click.echo(f"The first {log.dropped} lines are not kept.", err=True)
        if not follow:
            tell(log.lines)
            return
        fault = ""
        for seen in sights(broker, job_id):
            tell(seen.lines)
            if seen.fault and not fault:
                click.echo(seen.fault, err=True)
            fault = seen.fault


def _as_json(line: LogLine) -> str:
    return json.dumps(_LINE.dump_python(line, mode="json"))


def _as_text(line: LogLine, times: bool) -> str:
    """To a terminal without what would move its cursor; else as the job has written it."""
    text = printable(line.text) if sys.stdout.isatty() else line.text
    kind = line.level or line.stream
    return f"{line.at:%Y-%m-%dT%H:%M:%S.%fZ} {kind:<7} {text}" if times else text
