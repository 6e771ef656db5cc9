"""The command `paddock`. Exit status: 0 done, 1 the job says no, 2 called or set up wrongly."""

import sys

import click

from jobs.errors import TaskError
from service.cli.jobs import cancel, jobs, retry, status
from service.cli.logs import logs
from service.cli.queues import pause, resume
from service.cli.running import check, serve, up, work
from service.cli.submitting import submit
from service.cli.top import top
from service.cli.watch import watch
from service.errors import PaddockError, ParametersInvalid, Problem, RedisAway


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="paddock")
def cli() -> None:
    """A job service: typed Python functions as durable REST jobs."""


for command in (
    *(up, serve, work, check),
    *(submit, jobs, status, retry, cancel),
    *(watch, logs, top),
    *(pause, resume),
):
    cli.add_command(command)


def main() -> None:
    """Run the command line; every error is one line on stderr."""
    try:
        sys.exit(cli(standalone_mode=False) or 0)
    except click.exceptions.Abort:
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (PaddockError, TaskError) as error:
        click.echo(f"paddock: {error}", err=True)
        sys.exit(_exit_status(error))


def _exit_status(error: Exception) -> int:
    """The job's own fault is 1, and so is a Redis that is away; the caller's is 2."""
    if isinstance(error, ParametersInvalid) or not isinstance(error, Problem):
        return 2
    return 1 if isinstance(error, RedisAway) or error.status in (404, 409) else 2
